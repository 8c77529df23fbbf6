"""What has to be true before anything is started; each check says in one sentence what is wrong and the way out."""

import shutil
import socket
from pathlib import Path

import psutil

GIB = 2**30


class PreflightError(Exception):
    """The machine is not ready; the message says what to do."""


def port_owner(port: int) -> str:
    """Which process listens on a port, such as "process 4711, python"; "another program" where it cannot be seen."""
    try:
        connections = psutil.net_connections(kind="tcp")
    except psutil.AccessDenied:
        return "another program"
    for connection in connections:
        if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port and connection.pid:
            try:
                return f"process {connection.pid}, {psutil.Process(connection.pid).name()}"
            except psutil.NoSuchProcess:
                break
    return "another program"


def check_port(host: str, port: int, what: str, setting: str) -> None:
    """Refuse a port that another program listens on.

    Args:
        what: which of our processes wants it, "web" or "model".
        setting: the environment variable that chooses it.

    Raises:
        PreflightError: with the owner and the variable.
    """
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As servers do: a port in TIME_WAIT after the last run is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except PermissionError as error:
            raise PreflightError(
                f"Port {port} ({what}) needs administrator rights. Choose one above 1023: "
                f"{setting}={port + 8000} make up"
            ) from error
        except socket.gaierror as error:
            raise PreflightError(f"MEDVINT_HOST={host} is not an address of this machine.") from error
        except OSError as error:
            raise PreflightError(
                f"Port {port} ({what}) is in use by {port_owner(port)}. "
                f"Stop that program, or choose another port: {setting}={port + 1} make up"
            ) from error


def check_memory(needed_gib: float, available_gib: float | None = None) -> None:
    """Refuse to start where the machine would start swapping.

    Args:
        available_gib: measured where None.

    Raises:
        PreflightError: with both figures.
    """
    available = psutil.virtual_memory().available / GIB if available_gib is None else available_gib
    if available < needed_gib:
        raise PreflightError(
            f"Model and web need {needed_gib:.1f} GiB of free memory, and {available:.1f} GiB are free. "
            "Close some programs, or use a model that runs elsewhere: MEDVINT_MODEL_URL=http://server:8000 make up"
        )


def check_disk(folder: Path, needed_gib: float) -> None:
    """Refuse to start where models and index would not fit.

    Raises:
        PreflightError: with what is free, and the setting that moves the folder.
    """
    existing = next(parent for parent in (folder.resolve(), *folder.resolve().parents) if parent.exists())
    free = shutil.disk_usage(existing).free / GIB
    if free < needed_gib:
        raise PreflightError(
            f"{folder} needs {needed_gib:.1f} GiB of free disk, and {free:.1f} GiB are free. "
            "Free some space, or keep the state elsewhere: MEDVINT_DATA_DIR=/larger/disk make up"
        )


def check_writable(folder: Path) -> None:
    """Make the state folder, and refuse one that cannot be written to.

    Raises:
        PreflightError: with the folder.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise PreflightError(
            f"The folder {folder} cannot be written to ({error.strerror}). "
            "Choose another: MEDVINT_DATA_DIR=/path make up"
        ) from error


def check_model_folder(model: str) -> None:
    """Refuse a path where there is no folder; a hub id, `owner/name`, passes.

    Raises:
        PreflightError: with the command that makes such a folder.
    """
    is_path = model.startswith((".", "/", "~")) or model.count("/") > 1
    if is_path and not Path(model).expanduser().is_dir():
        raise PreflightError(f"{model} is not a folder with a model. `medvint convert --help` says how one is made.")
