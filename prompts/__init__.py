"""Prompt templates with a version, so that an answer can record which one made it.

load("medvint_chat").version
load("choice").render(question="Which plane?", choices=(" A:axial ", " B:coronal "))
"""

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import StrictUndefined
from jinja2.sandbox import ImmutableSandboxedEnvironment

FOLDER = Path(__file__).parent
# The same switches as transformers' chat templates: one file means the same in both.
_ENVIRONMENT = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined)
_VERSION = re.compile(r"\{#-? version: (\d+) -?#\}")


class PromptError(Exception):
    """A template does not exist, or does not begin with its version."""


@dataclass(frozen=True)
class Prompt:
    """One template: `text` is its Jinja source."""

    name: str
    version: int
    text: str

    @property
    def path(self) -> Path:
        return FOLDER / f"{self.name}.jinja"

    def render(self, **values: Any) -> str:
        """The prompt with its values; a value that the template needs and does not get is an error."""
        return _ENVIRONMENT.from_string(self.text).render(values)


def names() -> list[str]:
    """Every template there is."""
    return sorted(path.stem for path in FOLDER.glob("*.jinja"))


@cache
def load(name: str) -> Prompt:
    """Read `prompts/<name>.jinja`.

    Raises:
        PromptError: no such template, or its first line is not `{#- version: N -#}`.
    """
    if name not in names():
        raise PromptError(f"There is no prompt named {name!r}; there are {', '.join(names())}.")
    text = (FOLDER / f"{name}.jinja").read_text(encoding="utf-8")
    version = _VERSION.match(text)
    if version is None:
        raise PromptError(f"prompts/{name}.jinja does not begin with {{#- version: N -#}}.")
    return Prompt(name, int(version[1]), text)
