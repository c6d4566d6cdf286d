"""`apollo webserver`, `apollo user` and `apollo token` as they are run."""

import contextlib
import http.client
import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from dagster import DagsterRunStatus
from dagster_graphql import DagsterGraphQLClient
from websockets import ConnectionClosed, InvalidStatus, Subprotocol
from websockets.sync.client import connect

from dagster_apollo.paths import CHECKOUT
from dagster_apollo.services.contract import CodeServer
from dagster_apollo.web.server import MOST_CONNECTIONS
from tests.integration.conftest import RunApollo
from tests.integration.front_door.process import environment_of, start, webserver
from tests.integration.front_door.site import PASSWORDS, variables

pytestmark = pytest.mark.integration


def located(code_server: CodeServer, **others: str) -> dict[str, str]:
    address = f"{code_server.host}:{code_server.port}"
    return {f"APOLLO_CODE_SERVER_{code_server.name.upper()}": address, **others}


def output_of(home: Path, uri: str, *arguments: str, **others: str) -> tuple[int, str]:
    process = start(home, environment_of(home, uri, **others), *arguments)
    return process.wait(90), (home / "log").read_text()


def test_it_does_not_start_without_authentication_where_others_can_reach_it(
    tmp_path: Path, migrated_uri: str, code_server: CodeServer
) -> None:
    code, output = output_of(tmp_path, migrated_uri, "--host", "0.0.0.0", **located(code_server))
    assert code == 2
    assert "APOLLO_ADMIN_PASSWORD: is not set, nor is APOLLO_USERS or APOLLO_OIDC_ISSUER" in output
    assert "Traceback" not in output


def test_it_names_all_problems_and_no_value(
    tmp_path: Path, migrated_uri: str, code_server: CodeServer
) -> None:
    code, output = output_of(
        tmp_path,
        migrated_uri,
        "--host",
        "0.0.0.0",
        **located(code_server),
        APOLLO_ADMIN_PASSWORD="pa55word",
        APOLLO_USERS="ann:king:$argon2id$s3cret",
        APOLLO_SESSION_SECRET="tooshort-s3cret",
        APOLLO_SESSION_HOURS="soon",
        APOLLO_OIDC_ISSUER="ftp://s3cret",
        APOLLO_PUBLIC_URL="s3cret",
        APOLLO_TRUSTED_PROXIES="s3cret",
    )
    assert code == 2
    for name in (
        "ADMIN_PASSWORD", "USERS", "SESSION_SECRET", "SESSION_HOURS", "OIDC_ISSUER",
        "OIDC_CLIENT_ID", "OIDC_CLIENT_SECRET", "PUBLIC_URL", "TRUSTED_PROXIES",
    ):  # fmt: skip
        assert f"APOLLO_{name}: " in output
    for value in ("pa55word", "s3cret", "king", "soon"):
        assert value not in output


def test_it_does_not_start_on_a_database_without_its_schema(
    tmp_path: Path, postgres_uri: str, code_server: CodeServer
) -> None:
    code, output = output_of(tmp_path, postgres_uri, **located(code_server))
    assert code == 2
    assert "apollo migrate" in output


def test_on_loopback_everybody_is_an_admin_and_the_log_says_so(
    tmp_path: Path, migrated_uri: str, code_server: CodeServer
) -> None:
    with webserver(tmp_path, migrated_uri, **located(code_server)) as running:
        status, page = running.get("/auth/account", Accept="text/html")
        assert status == 200
        assert "everybody who works on this machine is an admin" in page
        assert "No sign-in is configured: everybody who reaches 127.0.0.1" in running.log
        assert running.get("/", Host="evil.example")[0] == 421


def test_it_serves_says_nothing_secret_and_ends_in_order(
    tmp_path: Path, migrated_uri: str, code_server: CodeServer, run_apollo: RunApollo
) -> None:
    public = {"APOLLO_PUBLIC_URL": "http://localhost"}
    environ = {**variables(**public), **located(code_server)}
    with webserver(tmp_path, migrated_uri, "--host", "0.0.0.0", **environ) as running:
        assert running.get("/server_info")[0] == 401
        token = run_apollo(
            ["token", "create", "probe"], environment_of(tmp_path, migrated_uri)
        ).stdout.strip()
        status, info = running.get("/server_info?secret=query", Authorization=f"Bearer {token}")
        assert status == 200
        assert "dagster_version" in info
        assert running.get("/auth/sign-in")[0] == 200
        connection = http.client.HTTPConnection("localhost", running.port)
        body = f"name=ada&password={PASSWORDS['ada']}"
        connection.request(
            "POST",
            "/auth/sign-in",
            body,
            {
                "Content-Type": "application/x-www-form-urlencoded",
                "Origin": f"http://localhost:{running.port}",
            },
        )
        answer = connection.getresponse()
        assert answer.status == 303
        assert answer.getheader("Server") is None
        cookie = str(answer.getheader("Set-Cookie")).partition("=")[2].partition(";")[0]
        assert running.stop() == 0
        assert "ada (admin) did: sign-in from 127.0.0.1" in running.log
        for secret in (token, cookie, PASSWORDS["ada"], "secret=query", "$argon2"):
            assert secret not in running.log
        assert "Traceback" not in running.log
        assert "Warning" not in running.log
        assert running.log.count("APOLLO_TRUSTED_PROXIES is not set") == 1


def test_what_anybody_can_make_it_keep_in_memory_has_an_end(
    tmp_path: Path, migrated_uri: str, code_server: CodeServer
) -> None:
    line = b"X-Filler: " + b"x" * 1_000_000 + b"\r\n"
    with webserver(tmp_path, migrated_uri, **located(code_server)) as running:
        address = ("127.0.0.1", running.port)
        taken = 0
        with socket.create_connection(address, timeout=10) as sender:
            sender.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n")
            with contextlib.suppress(ConnectionError):
                while taken < 300:
                    sender.sendall(line)
                    taken += 1
        assert taken < 30, "what the kernels of both sides hold back, at most"
        assert running.get("/healthz", Filler="x" * 60_000) == (200, "ok")
        with contextlib.ExitStack() as idle:
            for _ in range(MOST_CONNECTIONS):
                idle.enter_context(socket.create_connection(address))
            assert running.get("/healthz")[0] == 503
        until = (running.get("/healthz")[0] for _ in range(100))
        assert 200 in until, "those that have gone count no more"


def test_dagster_s_own_client_works_with_a_token_and_an_open_websocket_ends_with_the_process(
    tmp_path: Path, migrated_uri: str, code_server: CodeServer, run_apollo: RunApollo
) -> None:
    environ = {**variables(APOLLO_PUBLIC_URL="http://localhost"), **located(code_server)}
    with webserver(tmp_path, migrated_uri, **environ) as running:
        create = ["token", "create", "script", "--role", "operator"]
        token = run_apollo(create, environment_of(tmp_path, migrated_uri)).stdout.strip()
        headers = {"Authorization": f"Bearer {token}"}
        client = DagsterGraphQLClient("localhost", running.port, headers=headers)
        run_id = client.submit_job_execution("talk", repository_location_name="shop")
        assert client.get_run_status(run_id) is DagsterRunStatus.QUEUED
        client.terminate_run(run_id)
        with pytest.raises(InvalidStatus, match="403"):
            connect(f"ws://localhost:{running.port}/graphql")
        with connect(
            f"ws://localhost:{running.port}/graphql",
            additional_headers=headers,
            subprotocols=[Subprotocol("graphql-ws")],
        ) as socket:
            socket.send('{"type": "connection_init"}')
            assert json.loads(socket.recv()) == {"type": "connection_ack"}
            assert running.stop() == 0
            with pytest.raises(ConnectionClosed):
                socket.recv()


def test_a_token_is_made_listed_and_revoked_at_the_command_line(
    tmp_path: Path, migrated_uri: str, call_apollo: RunApollo
) -> None:
    env = environment_of(tmp_path, migrated_uri, TMPDIR=str(tmp_path))
    made = call_apollo(["token", "create", "export", "--role", "operator", "--days", "30"], env)
    assert made.returncode == 0, made.stderr
    token = made.stdout.strip()
    assert token.startswith("apollo_")
    listed = call_apollo(["token", "list", "--json"], env).stdout
    (record,) = json.loads(listed)
    assert record["name"] == "export"
    assert record["role"] == "operator"
    assert record["created_by"].startswith("cli:")
    assert record["is_valid"]
    assert token not in listed
    assert "export" in call_apollo(["token", "list"], env).stdout
    again = call_apollo(["token", "create", "export"], env)
    assert again.returncode == 2
    assert "There is, or was, a token named export" in again.stderr
    assert call_apollo(["token", "revoke", "export"], env).returncode == 0
    assert call_apollo(["token", "revoke", "export"], env).returncode == 2
    assert call_apollo(["token", "create", "x", "--role", "king"], env).returncode == 2
    (record,) = json.loads(call_apollo(["token", "list", "--json"], env).stdout)
    assert not record["is_valid"]
    without = call_apollo(["token", "list"], {**env, "DAGSTER_PG_URI": ""})
    assert without.returncode == 2
    assert "DAGSTER_PG_URI: is not set" in without.stderr


def test_a_user_s_entry_is_made_from_a_password_that_is_not_shown(tmp_path: Path) -> None:
    def run(password: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "dagster_apollo.cli", "user", "hash", *arguments],
            cwd=CHECKOUT,
            env=environment_of(tmp_path, ""),
            input=password,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    made = run("correct horse battery\n", "ann", "--role", "operator")
    assert made.returncode == 0, made.stderr
    assert made.stdout.startswith("ann:operator:$argon2id$")
    assert "horse" not in made.stdout + made.stderr
    for arguments, password in (
        (("ann", "--role", "king"), "correct horse battery"),
        (("Ann B",), "correct horse battery"),
        (("ann",), "short"),
    ):
        refused = run(password, *arguments)
        assert refused.returncode == 2
        assert not refused.stdout
