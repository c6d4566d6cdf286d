"""Runs whose code server was lost with its host: nobody there is left to record their end."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy
from dagster import DagsterInstance, DagsterRun, DagsterRunStatus
from dagster._core.launcher import WorkerStatus
from dagster._core.test_utils import create_run_for_test
from pydantic import SecretStr
from sqlalchemy import func, insert, text, update

from dagster_apollo.contract import normalise_postgres_uri
from dagster_apollo.instance import launcher
from dagster_apollo.instance.database import SERVICE, engine_of
from dagster_apollo.instance.home import RELEASE_CONFIG, open_instance
from dagster_apollo.instance.launcher import CODE_SERVER_TAG
from tests.integration.conftest import MakeEnvironment, environment

pytestmark = pytest.mark.integration


@pytest.fixture
def instance(
    migrated_uri: str, apollo_env: MakeEnvironment, tmp_path: Path
) -> Iterator[DagsterInstance]:
    env = apollo_env(tmp_path, DAGSTER_PG_URI=migrated_uri)
    with (
        environment(env),
        open_instance(Path(env["DAGSTER_HOME"]), RELEASE_CONFIG) as instance,
    ):
        yield instance


@pytest.fixture
def database(migrated_uri: str) -> Iterator[sqlalchemy.Engine]:
    engine = engine_of(SecretStr(normalise_postgres_uri(migrated_uri)))
    with engine.begin() as connection:
        connection.execute(
            insert(SERVICE).values(
                id="it",
                service="code-server",
                name="apollo",
                release="1",
                dagster_home="/i",
                host="h",
            )
        )
    yield engine
    engine.dispose()


def started_run(instance: DagsterInstance, **tags: str) -> DagsterRun:
    return create_run_for_test(instance, status=DagsterRunStatus.STARTED, tags=tags)


def silent_for(database: sqlalchemy.Engine, seconds: int) -> None:
    with database.begin() as connection:
        ago = func.now() - text(f"interval '{seconds} seconds'")
        connection.execute(update(SERVICE).values(heartbeat_at=ago))


def test_a_run_is_lost_when_its_code_server_stays_silent(
    instance: DagsterInstance, database: sqlalchemy.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    monkeypatch.setattr(launcher.time, "monotonic", lambda: clock[0])
    run = started_run(instance, **{CODE_SERVER_TAG: "it"})

    def status() -> WorkerStatus:
        return instance.run_launcher.check_run_worker_health(run).status

    assert instance.run_launcher.supports_check_run_worker_health
    assert status() is WorkerStatus.RUNNING
    silent_for(database, 170)
    clock[0] = 1000
    assert status() is WorkerStatus.RUNNING
    silent_for(database, 190)
    assert status() is WorkerStatus.RUNNING  # after an outage of the database it may report yet
    clock[0] += 59
    assert status() is WorkerStatus.RUNNING
    silent_for(database, 0)
    assert status() is WorkerStatus.RUNNING  # it did
    silent_for(database, 190)
    assert status() is WorkerStatus.RUNNING
    clock[0] += 61
    assert status() is WorkerStatus.FAILED
    result = instance.run_launcher.check_run_worker_health(run)
    assert "From asset failure" in str(result.msg)


def test_a_run_of_an_unknown_code_server_is_lost_and_one_of_none_is_not(
    instance: DagsterInstance, database: sqlalchemy.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    monkeypatch.setattr(launcher.time, "monotonic", lambda: clock[0])
    unknown = started_run(instance, **{CODE_SERVER_TAG: "removed long ago"})
    untagged = started_run(instance)
    health = instance.run_launcher.check_run_worker_health
    assert health(unknown).status is WorkerStatus.RUNNING
    clock[0] = 61
    assert health(unknown).status is WorkerStatus.FAILED
    assert health(untagged).status is WorkerStatus.RUNNING
