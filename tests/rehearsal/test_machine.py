"""The rehearsal's own machinery: hosts that are separate, and a router that keeps what is open."""

import contextlib
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.rehearsal import hosts
from tests.rehearsal.blueprint import ROOT, SOURCE
from tests.rehearsal.hosts import VENV, Host
from tests.rehearsal.router import Router
from tests.ui.support import until

pytestmark = pytest.mark.integration

SECONDS = 30


@pytest.fixture
def image(tmp_path: Path) -> Iterator[Host]:
    reason = hosts.why_not()
    if reason:
        pytest.skip(reason)
    host = Host.create(tmp_path / "image")
    (host.source / ".venv").mkdir()
    (host.source / "README").write_text("source\n")
    yield host
    host.destroy()


@pytest.fixture
def two(image: Host, tmp_path: Path) -> Iterator[tuple[Host, Host]]:
    one, other = (Host.from_image(image, tmp_path / name) for name in ("one", "other"))
    yield one, other
    one.destroy()
    other.destroy()


def test_each_host_has_a_disk_and_a_tmp_of_its_own_at_the_same_paths(two: tuple[Host, Host]):
    one, other = two
    write = f"echo mine > {SOURCE}/state; echo mine > /tmp/state; cat README; echo $HOME"

    assert one.run(write, {}, "write", SECONDS).split() == ["source", ROOT]

    assert other.run(f"ls {SOURCE} /tmp; cat README", {}, "look", SECONDS).split() == [
        "/opt/render/project/src:",
        "README",
        "/tmp:",
        "source",
    ]
    assert one.path(f"{SOURCE}/state").read_text() == "mine\n"
    assert not Path("/tmp/state").exists()


def test_no_host_changes_the_environment_that_they_share(two: tuple[Host, Host]):
    with pytest.raises(AssertionError, match="Read-only file system"):
        two[0].run(f"touch {VENV}/new", {}, "touch", SECONDS)


def test_a_command_gets_its_own_variables_and_none_of_ours(
    two: tuple[Host, Host], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("OURS", "1")

    listed = two[0].run("env -0 | tr '\\0' '\\n'", {"GIVEN": "yes"}, "env", SECONDS)

    names = {line.partition("=")[0] for line in listed.splitlines()}
    assert names - {"PWD", "OLDPWD", "SHLVL", "_"} == {"GIVEN", "HOME", "LANG", "PATH"}


def test_sigterm_reaches_the_command_itself(two: tuple[Host, Host]):
    running = two[0].start("exec sleep 1000", {}, "sleep")
    until("it sleeps", lambda: running.processes("sleep 1000"))

    running.terminate()

    assert running.wait(SECONDS) == -15


def test_nothing_is_left_of_a_host_that_is_destroyed(two: tuple[Host, Host]):
    stubborn = "trap '' TERM; (trap '' TERM; setsid sleep 1000) & sleep 1001; true"
    running = two[0].start(stubborn, {}, "stubborn")
    until("all run", lambda: len(running.processes("sleep 100")) == 3)  # and bash, which says it
    pids = running.processes()

    two[0].destroy()

    assert not two[0].folder.exists()
    assert [pid for pid in pids if _is_alive(pid)] == []
    assert "rehearsal" not in Path("/proc/self/mountinfo").read_text()


@contextlib.contextmanager
def _echo(name: bytes) -> Iterator[int]:
    """A server that answers each line with its name and the line."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve(connection: socket.socket) -> None:
            with connection, contextlib.suppress(OSError):
                while data := connection.recv(100):
                    connection.sendall(name + data)

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    threading.Thread(target=serve, args=(connection,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def router() -> Iterator[Router]:
    started = Router()
    yield started
    started.close()


def _ask(connection: socket.socket) -> bytes:
    connection.sendall(b"!")
    return connection.recv(100)


def test_new_connections_go_to_the_newest_instance_and_open_ones_stay(router: Router):
    address = router.listen("web")
    with _echo(b"old") as old, _echo(b"new") as new:
        router.route("web", old)
        with socket.create_connection((address.host, address.port), SECONDS) as before:
            assert _ask(before) == b"old!"
            router.route("web", new)
            with socket.create_connection((address.host, address.port), SECONDS) as after:
                assert _ask(after) == b"new!"
                assert _ask(before) == b"old!"
                assert (router.connections(old), router.connections(new)) == (1, 1)


def test_who_connects_before_anything_is_live_is_turned_away(router: Router):
    address = router.listen("web")

    with socket.create_connection((address.host, address.port), SECONDS) as connection:
        assert connection.recv(100) == b""


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:1]
