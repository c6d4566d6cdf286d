"""`apollo webserver` as a process of its own."""

import contextlib
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from dagster_apollo.paths import CHECKOUT
from tests.integration.conftest import free_port

_PATIENCE_SECONDS = 90
_HOST = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "PYTHONPATH", "VIRTUAL_ENV", "TZ")


@dataclass
class Webserver:
    """A webserver that runs."""

    process: "subprocess.Popen[bytes]"
    port: int
    log_file: Path

    @property
    def url(self) -> str:
        return f"http://localhost:{self.port}"

    @property
    def log(self) -> str:
        return self.log_file.read_text()

    def get(self, path: str, **headers: str) -> tuple[int, str]:
        request = urllib.request.Request(f"{self.url}{path}", headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(_PATIENCE_SECONDS)


def environment_of(home: Path, uri: str, **variables: str) -> dict[str, str]:
    """The whole environment of a webserver."""
    return {
        **{name: os.environ[name] for name in _HOST if name in os.environ},
        "HOME": str(home),
        "DAGSTER_HOME": str(home / "instance"),
        "DAGSTER_PG_URI": uri,
        "COLUMNS": "240",
        **variables,
    }


def start(home: Path, environment: Mapping[str, str], *arguments: str) -> "subprocess.Popen[bytes]":
    with (home / "log").open("wb") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "dagster_apollo.cli", "webserver", *arguments],
            cwd=CHECKOUT,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )


@contextlib.contextmanager
def webserver(home: Path, uri: str, *arguments: str, **variables: str) -> Iterator[Webserver]:
    """Run a webserver until the end of the block; it must not have ended before."""
    port = int(variables.pop("PORT", "") or free_port())
    environment = environment_of(home, uri, PORT=str(port), **variables)
    process = start(home, environment, *arguments)
    running = Webserver(process, port, home / "log")
    try:
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while True:
            assert process.poll() is None, running.log
            assert time.monotonic() < deadline, running.log
            with contextlib.suppress(OSError):
                if running.get("/healthz") == (200, "ok"):
                    break
            time.sleep(0.1)
        yield running
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(10)
