import socket

import pytest

from assistant.preflight import (
    PreflightError,
    check_disk,
    check_memory,
    check_port,
    check_writable,
)
from assistant.settings import Settings
from assistant.up import Needs, own_data_dir, preflight


@pytest.fixture
def listener():
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server.getsockname()[1]


def test_a_port_in_use_names_its_owner_and_the_way_out(listener):
    with pytest.raises(PreflightError) as failure:
        check_port("127.0.0.1", listener, "web", "MEDVINT_PORT")
    assert f"MEDVINT_PORT={listener + 1} make up" in str(failure.value)
    assert "process" in str(failure.value) or "another program" in str(failure.value)


def test_a_free_port_passes(free_port):
    check_port("127.0.0.1", free_port(), "web", "MEDVINT_PORT")


def test_a_port_that_was_in_use_a_moment_ago_passes():
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):
            server.accept()[0].close()
    check_port("127.0.0.1", port, "web", "MEDVINT_PORT")


def test_a_foreign_address_is_refused():
    with pytest.raises(PreflightError):
        check_port("192.0.2.1", 7860, "web", "MEDVINT_PORT")


@pytest.mark.parametrize(("needed", "available", "passes"), [(4.0, 3.9, False), (4.0, 4.0, True), (1.5, 20.0, True)])
def test_memory(needed, available, passes):
    if passes:
        check_memory(needed, available)
        return
    with pytest.raises(PreflightError, match=r"need 4\.0 GiB.*MEDVINT_MODEL_URL"):
        check_memory(needed, available)


def test_disk(tmp_path):
    check_disk(tmp_path / "not" / "there" / "yet", 0.001)
    with pytest.raises(PreflightError, match="MEDVINT_DATA_DIR"):
        check_disk(tmp_path, 1e9)


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(PreflightError, match="cannot be written"):
        check_writable(tmp_path / "file" / "data")


def test_a_model_folder_that_is_not_there(tmp_path, free_port):
    settings = Settings(model="./nowhere", port=free_port(), model_port=free_port(), data_dir=tmp_path)
    with pytest.raises(PreflightError, match="not a folder with a model"):
        preflight(settings, Needs(0, 0, 0))


def test_a_remote_model_needs_no_model_port(tmp_path, listener, free_port):
    settings = Settings(model_url="http://127.0.0.1:9", port=free_port(), model_port=listener, data_dir=tmp_path)
    preflight(settings, Needs(1e9, 0, 0))


def test_one_state_folder_has_one_owner(tmp_path):
    settings = Settings(data_dir=tmp_path)
    lock = own_data_dir(settings)
    with pytest.raises(PreflightError, match=r"Another `medvint up`"):
        own_data_dir(settings)
    lock.close()
    own_data_dir(settings).close()
