"""The files for containers name what is there: no Docker engine runs the tests, so they could rot unseen."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())


def test_what_is_copied_is_there():
    copied = [shlex.split(line)[2:-1] for line in re.findall(r"^COPY .*$", DOCKERFILE, re.M)]
    missing = [source for sources in copied for source in sources if not list(ROOT.glob(source.removeprefix("./")))]
    assert copied and missing == []
    # What is not copied is not installed.
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests"}
    assert packages <= {source.removeprefix("./") for sources in copied for source in sources}


def test_chroma_is_the_pinned_one():
    pinned = re.search(r"^chromadb==(\S+)$", (ROOT / "requirements.txt").read_text(), re.M)[1]
    assert COMPOSE["services"]["chroma"]["image"] == f"chromadb/chroma:{pinned}"


def test_services_name_each_other_rightly():
    environment = COMPOSE["services"]["web"]["environment"]
    for name, url in environment.items():
        if name.endswith("_URL"):
            assert re.fullmatch(r"http://(\w+):\d+", url)[1] in COMPOSE["services"]
    assert all(port.startswith("127.0.0.1:") for port in COMPOSE["services"]["web"]["ports"])


def test_variables_are_settings():
    from assistant.settings import Settings

    known = {setting.name for setting in Settings().listed()}
    named = set(re.findall(r"MEDVINT_[A-Z_]+", DOCKERFILE + (ROOT / "assistant/space/README.md").read_text()))
    assert named and named <= known
    assert set(COMPOSE["services"]["web"]["environment"]) <= known


@pytest.mark.parametrize("command", ["up", "prepare", "serve", "web", "doctor", "settings", "users"])
def test_commands_exist(medvint, command):
    assert subprocess.run([medvint, command, "--help"], capture_output=True, timeout=100).returncode == 0
