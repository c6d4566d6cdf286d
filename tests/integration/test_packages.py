"""Packages that cannot be had: an error that says which and why, soon, and no question."""

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from dagster_apollo.dbt import prepare as preparation
from dagster_apollo.dbt.prepare import NotPrepared, prepare_each
from dagster_apollo.dbt.process import output_of, start_process, stop_dbt
from dagster_apollo.runtime import start
from tests.integration.conftest import MakeEnvironment, environment

pytestmark = pytest.mark.integration


class _AsksForAPassword(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(401)
        self.send_header("WWW-Authenticate", 'Basic realm="private"')
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@pytest.fixture(scope="module")
def private() -> Iterator[int]:
    """The port of a host that wants a password for all that it has."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _AsksForAPassword) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


@pytest.fixture(scope="module")
def silent() -> Iterator[int]:
    """The port of a host that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield int(server.getsockname()[1])


@pytest.fixture(scope="module")
def reasons(
    private: int,
    silent: int,
    tmp_path_factory: pytest.TempPathFactory,
    apollo_env: MakeEnvironment,
) -> dict[str, str]:
    """Why tenants could not be prepared, by their names."""
    tenants = tmp_path_factory.mktemp("tenants")
    packages = {
        "private": f'git: "http://127.0.0.1:{private}/private.git"',
        "silent": f'git: "http://127.0.0.1:{silent}/silent.git"',
        "missing": "local: ../nowhere",
    }
    for name, package in packages.items():
        (tenants / name).mkdir()
        (tenants / name / "dbt_project.yml").write_text(f'name: {name}\nversion: "1.0"\n')
        (tenants / name / "packages.yml").write_text(
            f"packages:\n  - {package}\n" + ("    revision: main\n" if "git" in package else "")
        )
    env = apollo_env(tenants)
    with environment(env), pytest.MonkeyPatch.context() as patch:
        patch.setattr(preparation, "_GIT_SILENCE_SECONDS", 15)
        runtime = start(environ=env)
        outcomes = prepare_each(runtime.settings.tenants, runtime.profiles_dir, env)
    assert all(isinstance(it, NotPrepared) for it in outcomes)
    return {it.settings.tenant.name: it.reason for it in outcomes if isinstance(it, NotPrepared)}


@pytest.mark.parametrize(
    ("tenant", "said"),
    [
        ("private", ("/private.git", "terminal prompts disabled", "A private repository needs")),
        ("silent", ("got no answer for 15 seconds", "let this host reach it")),
        ("missing", ("nowhere/dbt_project.yml", "A `local:` package")),
    ],
)
def test_the_error_says_what_cannot_be_had_and_what_to_do(
    reasons: dict[str, str], tenant: str, said: tuple[str, ...]
) -> None:
    assert [text for text in said if text not in reasons[tenant]] == []
    assert f"tenant {tenant}" in reasons[tenant]
    assert "Traceback" not in reasons[tenant]


def test_what_says_nothing_goes_on_as_long_as_something_arrives(tmp_path: Path) -> None:
    arrives = 'for part in 1 2 3 4; do sleep 0.5; echo "$part" >>pack; done'
    for command, said in ((arrives, b"done\n"), ("sleep 60", None)):
        process = start_process(["sh", "-c", f"{command}; echo done"], tmp_path, {"PATH": "/bin"})
        try:
            if said is None:
                with pytest.raises(TimeoutError):
                    output_of(process, silence=1, growing=tmp_path)
            else:
                assert output_of(process, silence=1, growing=tmp_path) == said
        finally:
            stop_dbt(process)


@pytest.mark.parametrize(
    ("packages", "seconds"),
    [
        ("packages: [{package: dbt-labs/dbt_utils, version: 1.3.0}]", 45),
        ('packages:\n  - git: "https://example.com/large.git"\n', 120),
        ("packages: [{tarball: https://example.com/large.tar.gz, name: large}]", 120),
    ],
)
def test_large_packages_get_more_time(tmp_path: Path, packages: str, seconds: int) -> None:
    (tmp_path / "packages.yml").write_text(packages)
    assert preparation._patience_for_packages(tmp_path) == seconds


def test_nothing_is_left_running(reasons: dict[str, str]) -> None:
    left = [
        line
        for status in Path("/proc").glob("[0-9]*/cmdline")
        if (line := _read(status)) and "silent.git" in line
    ]
    assert left == []


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
