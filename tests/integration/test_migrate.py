"""The schema of the instance's database: made, checked, refused."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from pydantic import SecretStr
from sqlalchemy import text

from dagster_apollo.contract import normalise_postgres_uri
from dagster_apollo.errors import ApolloError
from dagster_apollo.instance.database import METADATA, DatabaseUnreachableError, engine_of
from dagster_apollo.instance.home import open_instance
from dagster_apollo.instance.schema import SchemaError, connected, read_schema, require_current
from dagster_apollo.paths import CHECKOUT
from tests.integration.conftest import SMALL, environment, free_port

pytestmark = pytest.mark.integration


def secret(uri: str) -> SecretStr:
    return SecretStr(normalise_postgres_uri(uri))


def test_an_empty_database_is_refused_with_the_command_that_migrates_it(postgres_uri: str) -> None:
    with pytest.raises(SchemaError) as refused:
        require_current(secret(postgres_uri))
    assert str(refused.value).count("apollo migrate") == 2
    assert "missing" in str(refused.value)


def test_migrate_brings_both_schemas_to_head_and_is_a_no_op_the_second_time(
    postgres_uri: str, apollo_env, run_apollo, tmp_path: Path
) -> None:
    env = apollo_env(tmp_path, DAGSTER_PG_URI=postgres_uri)
    first = run_apollo(["migrate"], env)
    assert first.returncode == 0, first.stderr
    require_current(secret(postgres_uri))
    second = run_apollo(["migrate"], env)
    assert second.returncode == 0
    assert second.stderr.count("nothing to do") == 2


def test_two_releases_that_migrate_at_once_do_it_once(
    postgres_uri: str, apollo_env, tmp_path: Path
) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "dagster_apollo.cli", "migrate"],
            env=apollo_env(tmp_path, DAGSTER_PG_URI=postgres_uri),
            cwd=CHECKOUT,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    outputs = [process.communicate(timeout=120)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], outputs
    assert sum("Apollo's schema: nothing -> " in output for output in outputs) == 1, outputs
    require_current(secret(postgres_uri))


def test_the_tables_are_those_that_the_code_describes(migrated_uri: str) -> None:
    with connected(secret(migrated_uri)) as connection:
        context = MigrationContext.configure(
            connection,
            opts={
                "include_object": lambda it, name, kind, *_: (
                    (kind == "table" and name.startswith("apollo_") and "alembic" not in name)
                    or (kind != "table" and it.table.name.startswith("apollo_"))
                )
            },
        )
        assert compare_metadata(context, METADATA) == []


def test_a_schema_ahead_of_the_code_is_refused_by_the_services_and_by_migrate(
    migrated_uri: str, apollo_env, run_apollo, tmp_path: Path
) -> None:
    with connected(secret(migrated_uri)) as connection, connection.begin():
        connection.execute(text("update apollo_alembic_version set version_num = '9999'"))
    with pytest.raises(SchemaError, match=r"Apollo's schema is ahead.*Deploy the newer release"):
        require_current(secret(migrated_uri))
    env = apollo_env(tmp_path, DAGSTER_PG_URI=migrated_uri)
    result = run_apollo(["migrate"], env)
    assert result.returncode == 2
    assert "ahead" in result.stderr


def test_a_dagster_schema_that_is_behind_is_upgraded(
    migrated_uri: str, apollo_env, run_apollo, tmp_path: Path
) -> None:
    with connected(secret(migrated_uri)) as connection:
        before = {item.part: item for item in read_schema(connection)}
    with connected(secret(migrated_uri)) as connection, connection.begin():
        connection.execute(text("update alembic_version set version_num = 'f495c27d5019'"))
    with pytest.raises(SchemaError, match="Dagster's schema is behind"):
        require_current(secret(migrated_uri))
    env = apollo_env(tmp_path, DAGSTER_PG_URI=migrated_uri)
    result = run_apollo(["migrate"], env)
    assert result.returncode == 0, result.stderr
    assert before["Dagster"].head in result.stderr
    require_current(secret(migrated_uri))


def test_a_database_that_is_away_is_said_without_its_password() -> None:
    uri = "postgresql://apollo:s3cretvalue@127.0.0.1:1/dagster"
    with pytest.raises(DatabaseUnreachableError) as refused:
        require_current(secret(uri))
    assert "DAGSTER_PG_URI" in str(refused.value)
    assert "s3cretvalue" not in repr(refused.value)
    assert refused.value.__suppress_context__


def test_rows_of_a_log_go_with_their_run(migrated_uri: str) -> None:
    engine = engine_of(secret(migrated_uri))
    with engine.begin() as connection:
        connection.execute(
            text(
                "insert into runs (run_id, status, run_body) values ('r1', 'SUCCESS', '{}');"
                "insert into apollo_compute_log (log_key, stream, run_id)"
                " values ('r1/x', 'out', 'r1');"
                "insert into apollo_compute_log_chunk values ('r1/x', 'out', 0, 'hello')"
            )
        )
        connection.execute(text("delete from runs"))
        left = connection.execute(text("select count(*) from apollo_compute_log_chunk")).scalar()
    engine.dispose()
    assert left == 0


def test_migrate_needs_what_the_services_need(apollo_env, run_apollo, tmp_path: Path) -> None:
    env = apollo_env(tmp_path, DAGSTER_HOME="")
    result = run_apollo(["migrate"], env)
    assert result.returncode == 2
    for name in ("DAGSTER_PG_URI", "DAGSTER_HOME"):
        assert f"{name}: is not set" in result.stderr


def test_a_code_server_makes_no_tables(
    postgres_uri: str, apollo_env, run_apollo, tmp_path: Path
) -> None:
    result = run_apollo(
        ["code-server", "--port", str(free_port())],
        apollo_env(tmp_path, DAGSTER_PG_URI=postgres_uri),
    )
    assert result.returncode == 2
    assert "apollo migrate" in result.stderr
    with connected(secret(postgres_uri)) as connection:
        tables = "select count(*) from information_schema.tables where table_schema = 'public'"
        assert connection.execute(text(tables)).scalar() == 0


def test_an_instance_says_which_storage_cannot_be_used(apollo_env, tmp_path: Path) -> None:
    env = apollo_env(tmp_path)
    home = Path(env["DAGSTER_HOME"])
    (home / "history").mkdir()
    (home / "history" / "runs.db").write_text("not a database")
    with environment(env), pytest.raises(ApolloError, match=f"SQLite files below {home}"):
        open_instance(home)
    uri = "postgresql://apollo:s3cretvalue@127.0.0.1:1/dagster"
    with (
        environment({**env, "DAGSTER_PG_URI": uri}),
        pytest.raises(DatabaseUnreachableError) as refused,
    ):
        open_instance(home)
    assert not re.search("SQLite|s3cretvalue", str(refused.value))


def test_a_code_server_says_in_a_line_that_the_database_is_away(
    apollo_env, run_apollo, tmp_path: Path
) -> None:
    uri = "postgresql://apollo:s3cretvalue@127.0.0.1:1/dagster"
    env = apollo_env(tmp_path, DAGSTER_PG_URI=uri)
    result = run_apollo(["code-server", "--port", str(free_port())], env)
    assert result.returncode == 2
    assert "DAGSTER_PG_URI: the database cannot be reached" in result.stderr
    assert not re.search("SQLite|Retrying|s3cretvalue", result.stderr)


def test_the_doctor_tells_production_of_a_schema_that_is_not_there(
    postgres_uri: str, copy_tenants, apollo_env, call_apollo, rsa_key: str
) -> None:
    variables = {
        f"SNOWFLAKE_{it}": "x" for it in ("ACCOUNT", "USER", "ROLE", "WAREHOUSE", "DATABASE")
    }
    env = apollo_env(
        copy_tenants(dbt_small=SMALL),
        DAGSTER_PG_URI=postgres_uri,
        SNOWFLAKE_PRIVATE_KEY_PEM=rsa_key,
        **variables,
    )

    def schema_checks(target: str) -> list[dict[str, str]]:
        checks = json.loads(call_apollo(["doctor", "--json", "--target", target], env).stdout)
        return [check for check in checks if check["name"] == "instance schema"]

    assert schema_checks("dev") == []
    before = schema_checks("prod")
    assert [check["status"] for check in before] == ["error", "error"]
    assert all("apollo migrate" in check["mend"] for check in before)
    assert call_apollo(["migrate"], env).returncode == 0
    assert [check["status"] for check in schema_checks("prod")] == ["ok", "ok"]
