"""Services that register in a real database."""

import time
from pathlib import Path

import pytest
from pydantic import SecretStr
from sqlalchemy import text

from dagster_apollo.contract import normalise_postgres_uri
from dagster_apollo.errors import ConfigurationError
from dagster_apollo.instance.schema import connected
from dagster_apollo.services import registry
from dagster_apollo.services.contract import ServiceSettings
from dagster_apollo.services.registry import registered

pytestmark = pytest.mark.integration


def settings(uri: str, *, release: str = "a", home: str = "/srv", deploy: int = 900):
    secret = SecretStr(normalise_postgres_uri(uri))
    return ServiceSettings(Path(home), secret, release, deploy, 30, None, ())


def rows(uri: str, columns: str) -> list[tuple]:
    with connected(SecretStr(normalise_postgres_uri(uri))) as connection:
        statement = f"select {columns} from apollo_service order by started_at"
        return [tuple(row) for row in connection.execute(text(statement))]


def test_a_service_is_there_while_it_runs(migrated_uri: str) -> None:
    with registered(settings(migrated_uri), "webserver"):
        assert rows(migrated_uri, "service, name, release, dagster_home, stopped_at is null") == [
            ("webserver", "webserver", "a", "/srv", True)
        ]
    assert rows(migrated_uri, "stopped_at is null") == [(False,)]


def test_a_service_with_another_home_does_not_start(migrated_uri: str) -> None:
    with registered(settings(migrated_uri), "webserver"):
        other = settings(migrated_uri, home="/elsewhere")
        with (
            pytest.raises(ConfigurationError, match="DAGSTER_HOME: is /elsewhere here and /srv"),
            registered(other, "daemon"),
        ):
            pass
    assert rows(migrated_uri, "stopped_at is null") == [(False,), (False,)]


def test_a_release_that_was_left_behind_is_refused_after_a_deploys_time(migrated_uri: str) -> None:
    with registered(settings(migrated_uri, deploy=1), "webserver"):
        newer = settings(migrated_uri, release="b", deploy=1)
        with registered(newer, "daemon"):  # a deploy goes on
            pass
        time.sleep(1.1)
        with (
            pytest.raises(ConfigurationError, match="APOLLO_RELEASE: is b here and has been a"),
            registered(newer, "daemon"),
        ):
            pass


def test_a_running_service_learns_of_a_disagreement_and_outlives_a_lost_database(
    migrated_uri: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(registry, "HEARTBEAT_SECONDS", 0.1)
    with registered(settings(migrated_uri), "webserver") as registration:
        secret = SecretStr(normalise_postgres_uri(migrated_uri))
        with connected(secret) as connection, connection.begin():
            connection.execute(
                text(
                    "insert into apollo_service (id, service, name, release, dagster_home, host)"
                    " values ('x', 'daemon', 'daemon', 'a', '/elsewhere', 'h')"
                )
            )
        wait_until(lambda: registration.problems)
        assert "DAGSTER_HOME" in caplog.text
        with connected(secret) as connection, connection.begin():
            connection.execute(text("alter table apollo_service rename to away"))
        wait_until(lambda: "cannot be reached" in caplog.text)
        with connected(secret) as connection, connection.begin():
            connection.execute(text("alter table away rename to apollo_service"))
        wait_until(lambda: "can be reached again" in caplog.text)


def test_a_service_whose_row_has_gone_registers_again_as_what_it_was(
    migrated_uri: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(registry, "HEARTBEAT_SECONDS", 0.1)
    with registered(settings(migrated_uri), "webserver") as registration:
        before = rows(migrated_uri, "id, started_at")
        secret = SecretStr(normalise_postgres_uri(migrated_uri))
        with connected(secret) as connection, connection.begin():
            connection.execute(text("delete from apollo_service"))
        wait_until(lambda: "is there again" in caplog.text)
        assert rows(migrated_uri, "id, started_at") == before
        assert before[0][0] == registration.id


def wait_until(condition) -> None:
    for _ in range(100):
        if condition():
            return
        time.sleep(0.1)
    pytest.fail("it did not happen within 10 s")
