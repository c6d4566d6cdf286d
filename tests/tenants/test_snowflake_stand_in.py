"""The same project through dbt-snowflake on fakesnow's server, RAW loaded by load_raw.sql.

fakesnow 0.12.1 has no temporary tables in a named database, so what needs them is left out: unit
tests, and second runs of incremental models and snapshots.
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import snowflake.connector

from tests.tenants.support import TENANT, Project, statuses, succeeded

pytestmark = pytest.mark.integration


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return int(probe.getsockname()[1])


def connect(port: int) -> Any:
    return snowflake.connector.connect(
        account="fakesnow",
        user="tester",
        password="any",
        host="localhost",
        port=port,
        protocol="http",
        session_parameters={"CLIENT_OUT_OF_BAND_TELEMETRY_ENABLED": False},
    )


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    port = free_port()
    log = (tmp_path_factory.mktemp("fakesnow") / "server.log").open("w")
    command = [sys.executable, "-m", "fakesnow", "-s", "-p", str(port)]
    with log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        deadline = time.monotonic() + 60
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("localhost", port)) == 0:
                    break
            assert process.poll() is None, Path(log.name).read_text()
            assert time.monotonic() < deadline, "fakesnow did not start within a minute"
            time.sleep(0.2)
        yield port
        process.terminate()


@pytest.fixture(scope="module")
def loaded(server: int) -> int:
    """RAW as load_raw.sql makes it, run in the tenant's folder as it says."""
    with contextlib.chdir(TENANT), connect(server) as connection, connection.cursor() as cursor:
        cursor.execute("create database if not exists apollo")
        cursor.execute("use database apollo")
        for statement in (TENANT / "load_raw.sql").read_text().split(";\n"):
            if statement.strip():
                cursor.execute(statement)
    return server


@pytest.fixture(scope="module")
def on_snowflake(project: Project, loaded: int) -> Project:
    """The tenant, built once on the dev target."""
    env = {"TEST_SNOWFLAKE_PORT": str(loaded)}
    succeeded(
        project.dbt(
            *("--warn-error", "build", "--target", "dev", "--exclude-resource-type", "unit_test"),
            name="dev",
            env=env,
        )
    )
    return project


def same(mine: tuple[Any, ...], other: tuple[Any, ...]) -> bool:
    """Whether two rows are equal, but for the last digit of a number, which is rounding's."""
    return all(
        float(a) == pytest.approx(float(b), abs=0.002)
        if isinstance(a, Decimal | float) and b is not None
        else a == b
        for a, b in zip(mine, other, strict=True)
    )


def test_all_of_a_first_build_passes(on_snowflake: Project) -> None:
    found = statuses(on_snowflake.artifact("run_results", "dev"))
    assert set(found) <= {"success", "pass", "no-op"}
    assert found["pass"] > 300


def test_marts_say_the_same_as_on_duckdb(
    on_snowflake: Project, built: Project, manifest: dict[str, Any], server: int
) -> None:
    marts = [node["alias"] for node in manifest["nodes"].values() if node["schema"] == "marts"]
    assert len(marts) > 20
    with connect(server) as connection, connection.cursor() as cursor:
        cursor.execute("use database apollo")
        for mart in marts:
            query = f"select * from marts.{mart} order by 1, 2, 3, 4, 5"
            there, here = cursor.execute(query).fetchall(), built.query(query)
            assert here, mart
            assert [pair for pair in zip(here, there, strict=True) if not same(*pair)] == [], mart


def test_models_land_in_the_schemas_that_their_configs_name(
    on_snowflake: Project, server: int
) -> None:
    with connect(server) as connection, connection.cursor() as cursor:
        cursor.execute("use database apollo")
        cursor.execute("select schema_name from information_schema.schemata")
        found = {row[0].lower() for row in cursor.fetchall()}
    assert {"raw", "staging", "intermediate", "marts", "reference", "snapshots"} <= found
    assert not any("_" in name for name in found - {"information_schema"})


def test_sources_are_fresh(on_snowflake: Project, loaded: int) -> None:
    env = {"TEST_SNOWFLAKE_PORT": str(loaded)}
    succeeded(on_snowflake.dbt("source", "freshness", "--target", "dev", name="dev", env=env))
