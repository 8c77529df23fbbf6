"""Parts of a long measurement, each kept when it is done: a run that was stopped goes on.

parts = Parts(Path("out/parts"), key="index 4f.., tuning 9a..")
parts.get("scope", lambda: measure_scope(...))
"""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any


class Parts:
    """Results by name; one that was measured on something else (another `key`) is measured again."""

    def __init__(self, folder: Path, key: str) -> None:
        self._folder, self._key = folder, hashlib.sha256(key.encode()).hexdigest()[:16]

    def get(self, name: str, measure: Callable[[], Any]) -> Any:
        """The kept result, or what `measure` says, as JSON holds it."""
        file = self._folder / f"{name}.json"
        if file.exists():
            kept = json.loads(file.read_text(encoding="utf-8"))
            if kept["key"] == self._key:
                return kept["result"]
        kept = {"key": self._key, "result": measure()}
        self._folder.mkdir(parents=True, exist_ok=True)
        partial = file.with_suffix(".partial")
        partial.write_text(json.dumps(kept), encoding="utf-8")
        partial.replace(file)
        return json.loads(json.dumps(kept["result"]))
