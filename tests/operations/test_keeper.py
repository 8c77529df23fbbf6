"""The keeper with real processes: small servers that die in the ways that the model can die."""

import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import psutil
import pytest

SERVER = """
import http.server, os, subprocess, sys, threading
port, fate, count = int(sys.argv[1]), sys.argv[2], sys.argv[3]
starts = int(open(count).read() or 0) + 1 if os.path.exists(count) else 1
open(count, "w").write(str(starts))
if fate == "never":
    sys.exit(7)
# As vLLM does: the work is in a process of its own, which a crash of the first must not leave behind.
worker = subprocess.Popen([sys.executable, "-c", "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(600)"])
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        sick = fate == "sick" and starts == 1 and self.path == "/health" and hits.append(1) is None and len(hits) > 1
        self.send_response(503 if sick else 200); self.end_headers()
        self.wfile.write(str(starts).encode())
    def log_message(self, *a): pass
hits = []
http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""

KEEPER = """
import sys
from assistant.processes import Keeper, Service
port, fate, count = sys.argv[1:]
command = [sys.executable, sys.argv[0].replace("keeper.py", "server.py"), port, fate, count]
sys.exit(Keeper(Service("model", command, f"http://127.0.0.1:{port}/health")).run())
"""


class Kept:
    def __init__(self, folder, port, fate):
        (folder / "server.py").write_text(SERVER)
        (folder / "keeper.py").write_text(KEEPER)
        self.url = f"http://127.0.0.1:{port}/"
        self.process = subprocess.Popen(
            [sys.executable, folder / "keeper.py", str(port), fate, str(folder / "count")],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(Path.cwd())},
        )

    def line(self, text):
        """Read the keeper's lines up to one with `text`."""
        for line in self.process.stdout:
            if text in line:
                return line
        pytest.fail(f"the keeper never said {text!r}")

    def children(self):
        return psutil.Process(self.process.pid).children(recursive=True)

    def starts(self):
        with urllib.request.urlopen(self.url, timeout=5) as reply:
            return int(reply.read())


@pytest.fixture
def keep(tmp_path, free_port):
    kept = []

    def begin(fate):
        kept.append(Kept(tmp_path, free_port(), fate))
        return kept[-1]

    yield begin
    for one in kept:
        for process in [*(one.children() if one.process.poll() is None else []), one.process]:
            process.kill()
        one.process.wait()


def gone(processes, limit_s=15):
    _, alive = psutil.wait_procs(processes, timeout=limit_s)
    return not [process for process in alive if process.status() != psutil.STATUS_ZOMBIE]


def test_a_crashed_process_is_started_again_without_its_orphans(keep):
    kept = keep("well")
    kept.line("model is ready")
    first = kept.children()
    server = psutil.Process(kept.process.pid).children()[0]
    server.send_signal(signal.SIGKILL)
    assert "signal 9" in kept.line("starting it again")
    kept.line("model is ready")
    assert kept.starts() == 2
    assert gone(first)


def test_a_process_that_says_it_is_broken_is_replaced(keep):
    kept = keep("sick")
    kept.line("is broken (503)")
    kept.line("starting it again")
    kept.line("model is ready")
    assert kept.starts() == 2


def test_a_process_that_never_was_healthy_is_not_tried_again(keep, tmp_path):
    kept = keep("never")
    assert kept.process.wait(30) == 7
    assert (tmp_path / "count").read_text() == "1"


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_stopping_leaves_nothing_behind(keep, signum):
    kept = keep("well")
    kept.line("model is ready")
    below = kept.children()
    assert len(below) == 2
    kept.process.send_signal(signum)
    assert kept.process.wait(30) == 0
    assert gone(below)


def test_the_keeper_does_not_outlive_its_parent(tmp_path, free_port):
    """Where the terminal's program is killed outright, nobody is left to send a signal."""
    (tmp_path / "server.py").write_text(SERVER)
    (tmp_path / "keeper.py").write_text(KEEPER)
    parent = subprocess.Popen(
        [sys.executable, "-c", "import subprocess, sys, time; subprocess.Popen([sys.executable, *sys.argv[1:]]); time.sleep(600)",
         tmp_path / "keeper.py", str(free_port()), "well", str(tmp_path / "count")],
        env={**os.environ, "PYTHONPATH": str(Path.cwd())},
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    for line in parent.stdout:
        if "is ready" in line:
            break
    below = psutil.Process(parent.pid).children(recursive=True)
    assert len(below) == 3
    parent.kill()
    parent.wait()
    assert gone(below, 30)
