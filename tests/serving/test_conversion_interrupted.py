"""A conversion that is stopped, or runs out of disk, leaves nothing behind and says so."""

import fcntl
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from serving.checkpoints import OutputExistsError, WriteError, convert
from serving.converted_folder import new_folder

ROOT = Path(__file__).parents[2]
KILLED = """
import os, signal, sys
from pathlib import Path
from serving.checkpoints import convert
def tell(what, share):
    if share > 0.5: os.kill(os.getpid(), signal.SIGKILL)
convert(sys.argv[1], sys.argv[2], Path(sys.argv[3]), num_heads=4, progress=tell)
"""
FILL = """
from pathlib import Path
import torch
from serving.converted_folder import new_folder, write_weights
from serving.weight_files import StoredTensor
weights = {str(number): StoredTensor.held(torch.ones(1 << 20)) for number in range(20)}
with new_folder(Path("out"), 0) as folder:  # as if another program took the rest
    write_weights(weights, torch.float32, folder, print)
"""


@pytest.mark.parametrize("at", [0.3, 0.86])
def test_an_interruption_leaves_nothing(at, tiny_source, tiny_llm, tmp_path):
    def interrupt(what, share):
        if share > at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert(tiny_source, tiny_llm, tmp_path / "out", num_heads=4, progress=interrupt)
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_run_left_is_never_taken_for_a_model(tiny_source, tiny_llm, tmp_path):
    out = tmp_path / "out"
    killed = subprocess.run([sys.executable, "-c", KILLED, *map(str, (tiny_source, tiny_llm, out))], cwd=ROOT)
    assert killed.returncode == -signal.SIGKILL
    assert not out.exists()
    convert(tiny_source, tiny_llm, out, num_heads=4)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_the_command_ends_in_words_when_it_is_terminated(tiny_source, tiny_llm, tmp_path):
    out = tmp_path / "out"
    options = ["convert", tiny_source, "--llm", tiny_llm, "--out", out, "--heads", "4"]
    command = [sys.executable, "-m", "assistant", *map(str, options)]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        assert any("Writing weights" in told for told in process.stderr)
        process.send_signal(signal.SIGTERM)
        rest = process.stderr.read()
    assert process.returncode == 130
    assert f"Interrupted. {out} was not made" in rest and "Traceback" not in rest
    assert list(tmp_path.iterdir()) == []


def test_too_little_disk_is_said_before_anything_is_written(tmp_path):
    with pytest.raises(WriteError, match=r"takes 1000000000\.0 GB"), new_folder(tmp_path / "out", 10**18):
        pytest.fail("it was begun")
    assert list(tmp_path.iterdir()) == []


def test_disk_that_fills_meanwhile_is_said(small_disk):
    said = subprocess.run([*small_disk("70m"), sys.executable, "-c", FILL], capture_output=True, text=True)
    assert "WriteError: out could not be written: the disk is full. Nothing of it was left." in said.stderr
    assert "LEFT: []" in said.stdout


@pytest.fixture
def small_disk(tmp_path):
    """A prefix that runs a command in a folder on a disk of that size, and lists what is left there."""
    if shutil.which("unshare") is None or subprocess.run(["unshare", "-Urm", "true"], capture_output=True).returncode:
        pytest.skip("needs a mount namespace of its own")

    def prefix(size):
        list_left = "import os; print('LEFT:', sorted(os.listdir()))"
        script = (
            f'mount -t tmpfs -o size={size} tmpfs "{tmp_path}" && cd "{tmp_path}" && '
            f'PYTHONPATH="{ROOT}" "$@"; "{sys.executable}" -c "{list_left}"'
        )
        return ["unshare", "-Urm", "sh", "-c", script, "sh"]

    return prefix


def test_two_runs_to_one_place_do_not_mix(tiny_source, tiny_llm, tmp_path):
    (tmp_path / ".out.unfinished").mkdir()
    other = os.open(tmp_path / ".out.unfinished", os.O_RDONLY)
    fcntl.flock(other, fcntl.LOCK_EX)
    with pytest.raises(OutputExistsError, match="Another run"):
        convert(tiny_source, tiny_llm, tmp_path / "out", num_heads=4)
    os.close(other)
    convert(tiny_source, tiny_llm, tmp_path / "out", num_heads=4)


def test_a_place_that_cannot_be_written_is_said(tiny_source, tiny_llm, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(WriteError, match="cannot be made"):
        convert(tiny_source, tiny_llm, tmp_path / "file" / "out", num_heads=4)
