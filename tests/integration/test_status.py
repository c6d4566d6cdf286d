"""`apollo status`: what it says of an instance, on SQLite as on Postgres, and how it ends."""

import json
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy
from dagster import DagsterInstance, RunsFilter
from sqlalchemy import text

from dagster_apollo.retention.report import Outcome, write_outcome
from tests.integration.conftest import SMALL, CopyTenants, MakeEnvironment, OpenHome, RunApollo
from tests.integration.postgres_support import psycopg
from tests.integration.retention_instance import bad, execute

pytestmark = pytest.mark.integration


@pytest.fixture(params=["sqlite", "postgres"])
def env(
    request: pytest.FixtureRequest, copy_tenants: CopyTenants, apollo_env: MakeEnvironment
) -> dict[str, str]:
    """The environment of a laptop, or of a host of production's database."""
    uri = request.getfixturevalue("migrated_uri") if request.param == "postgres" else ""
    return apollo_env(copy_tenants(dbt_small=SMALL), DAGSTER_PG_URI=uri)


def fail_in_all_ways(instance: DagsterInstance) -> None:
    assert execute(instance, "build", **{"apollo/tenant": "small"}).success
    with bad("apart", "inline"):
        execute(instance, "build")
    with bad("refined"):
        execute(instance, "build", **{"apollo/tenant": "small"})
    write_outcome(instance, Outcome(datetime.now(UTC), datetime.now(UTC), error="why"))


def test_it_says_what_is_wrong_and_ends_with_1_and_with_0_where_all_is_well(
    env: dict[str, str], call_apollo: RunApollo, open_home: OpenHome
) -> None:
    well = call_apollo(["status"], env)
    assert well.returncode == 0, well.stderr
    assert "All is well." in well.stdout
    assert "small" in well.stdout

    with open_home(env) as instance:
        fail_in_all_ways(instance)
        failed = instance.get_runs(RunsFilter(job_name="build"), limit=1)[0].run_id
    wrong = call_apollo(["status", "--json"], env)
    assert wrong.returncode == 1, wrong.stderr
    status = json.loads(wrong.stdout)
    assert status["problems"] == [
        f"The last run of small failed: {failed}",
        "Failing: refined",
        f"Retention failed at {status['retention']['started'][:16].replace('T', ' ')} UTC: why",
    ]
    assert [(it["asset"], it["check"], it["severity"]) for it in status["failing"]] == [
        ("refined", "apart", "warn"),
        ("refined", None, "error"),
    ]
    assert status["tenants"][0]["last_success"] <= status["tenants"][0]["last_run"]["since"]
    assert status["database_bytes"] > 10_000
    shown = call_apollo(["status"], env)
    assert shown.returncode == 1
    assert failed in shown.stdout


def test_services_queue_and_a_broken_environment(
    migrated_uri: str,
    copy_tenants: CopyTenants,
    apollo_env: MakeEnvironment,
    call_apollo: RunApollo,
) -> None:
    env = apollo_env(copy_tenants(dbt_small=SMALL), DAGSTER_PG_URI=migrated_uri)
    insert = (
        "insert into apollo_service (id, service, name, release, dagster_home, host, started_at, "
        "heartbeat_at) values (:id, :service, :service, 'abc', '/', 'h', now(), now() - :age)"
    )
    services = [("1", "webserver", 0), ("2", "daemon", 5), ("3", "code-server", 60 * 30)]
    engine = sqlalchemy.create_engine(psycopg(migrated_uri), poolclass=sqlalchemy.NullPool)
    with engine.begin() as connection:
        for number, service, minutes in services:
            values = {"id": number, "service": service, "age": timedelta(minutes=minutes)}
            connection.execute(text(insert), values)
    status = call_apollo(["status"], env)
    assert status.returncode == 1
    assert "webserver" in status.stdout
    assert "! The daemon daemon is down, since" in status.stdout
    assert "! No daemon runs" in status.stdout
    assert "code-server" not in status.stdout  # it is a day since it was heard of
    broken = call_apollo(["status"], {**env, "DAGSTER_PG_URI": "postgresql://u:s3cret@/no"})
    assert broken.returncode == 2
    assert "s3cret" not in broken.stdout + broken.stderr
