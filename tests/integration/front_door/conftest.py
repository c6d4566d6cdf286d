"""One code server and one front door for the session."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

import pytest
from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._grpc.client import DagsterGrpcClient

from dagster_apollo.services.contract import CodeServer
from tests.integration.conftest import MakeDatabase, free_port
from tests.integration.front_door.site import LOCATION, Site, serve, variables

ServeSite = Callable[..., AbstractContextManager[Site]]


@pytest.fixture(scope="session")
def code_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CodeServer]:
    """Dagster's own gRPC server of the location in location.py."""
    with _serving(LOCATION, "location.py", "defs", tmp_path_factory) as server:
        yield server


@pytest.fixture(scope="session")
def code_servers_of_tenants(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[CodeServer, ...]]:
    """Three tenants in one code location, and one in another: those of tenants_location.py."""
    with ExitStack() as stack:
        yield tuple(
            stack.enter_context(_serving(name, "tenants_location.py", attribute, tmp_path_factory))
            for name, attribute in (("shared", "shared"), ("initech", "apart"))
        )


@contextmanager
def _serving(
    name: str, file: str, attribute: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[CodeServer]:
    port = free_port()
    home = tmp_path_factory.mktemp("code-server")
    path = Path(__file__).with_name(file)
    served = ["-f", str(path), "-a", attribute, "-p", str(port)]
    process = subprocess.Popen(
        [sys.executable, "-m", "dagster", "api", "grpc", *served],
        cwd=home,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        client = DagsterGrpcClient(port=port, host="127.0.0.1")
        deadline = time.monotonic() + 90
        while not _answers(client):
            assert process.poll() is None, "the code server has ended"
            assert time.monotonic() < deadline, "the code server does not answer"
            time.sleep(0.2)
        yield CodeServer(name, "127.0.0.1", port)
    finally:
        process.terminate()
        process.wait(30)


def _answers(client: DagsterGrpcClient) -> bool:
    try:
        client.ping("")
    except DagsterUserCodeUnreachableError:
        return False
    return True


@pytest.fixture(scope="session")
def serve_site(
    make_database: MakeDatabase,
    _migrated_template: str,
    code_server: CodeServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> ServeSite:
    """Serve a front door with a database of its own: `with serve_site(NAME="value") as site`."""

    def make(
        bind: str = "0.0.0.0",
        *,
        servers: Sequence[CodeServer] = (code_server,),
        **others: str,
    ) -> AbstractContextManager[Site]:
        return serve(
            make_database(_migrated_template),
            tmp_path_factory.mktemp("home"),
            servers,
            variables(**others),
            bind,
        )

    return make


@pytest.fixture(scope="module")  # not longer: it changes this process's environment
def site(serve_site: ServeSite) -> Iterator[Site]:
    """The front door with three users: vera (viewer), otto (operator) and ada (admin)."""
    with serve_site() as serving:
        yield serving
