"""Health: one word for everybody, and what is missing in the log."""

import logging
import time

import pytest
from dagster import DagsterInstance
from dagster._daemon.types import DaemonHeartbeat
from sqlalchemy import insert, text, update

from dagster_apollo.instance.database import SERVICE
from dagster_apollo.services.contract import CodeServer
from dagster_apollo.web import health
from tests.integration.conftest import free_port
from tests.integration.front_door.conftest import ServeSite
from tests.integration.front_door.site import Site

pytestmark = pytest.mark.integration


@pytest.fixture(autouse=True)
def always_looking(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "_KEPT_SECONDS", 0)
    monkeypatch.setattr(health, "_SCHEMA_KEPT_SECONDS", 0)


def register_daemon(site: Site, ago: str = "0 s") -> None:
    """Be a daemon's process, as the others see it."""
    row = {"id": "d", "service": "daemon", "name": "daemon", "release": "1", "dagster_home": "/h"}
    with site.engine.begin() as connection:
        connection.execute(SERVICE.delete())
        connection.execute(insert(SERVICE).values({**row, "host": "here"}))
        beat_at = text("now() - cast(:ago as interval)")
        connection.execute(update(SERVICE).values(heartbeat_at=beat_at), {"ago": ago})


def beat(instance: DagsterInstance, ago: float = 0) -> None:
    """Be the daemon's threads."""
    for daemon_type in instance.get_required_daemon_types():
        instance.add_daemon_heartbeat(DaemonHeartbeat(time.time() - ago, daemon_type, "x", None))


def readiness(site: Site) -> tuple[int, str]:
    answer = site.client().get("/readyz", headers={"Host": "10.1.2.3"})
    assert answer.headers["cache-control"] == "no-store"
    return answer.status_code, answer.text


def test_readiness_goes_with_everything_that_it_takes(
    serve_site: ServeSite, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "apollo.health"), serve_site() as site:
        assert readiness(site) == (503, "unready"), "no daemon yet"
        register_daemon(site)
        beat(site.instance)
        assert readiness(site) == (200, "ready")
        assert readiness(site) == (200, "ready")
        register_daemon(site, ago="61 s")
        assert readiness(site) == (503, "unready"), "killed a minute ago"
        register_daemon(site)
        beat(site.instance, ago=3600)
        assert readiness(site) == (503, "unready"), "its threads hang"
        beat(site.instance)
        with site.engine.begin() as connection:
            connection.exec_driver_sql("update apollo_alembic_version set version_num = 'later'")
        assert readiness(site) == (200, "ready"), "a deploy is under way"
        with site.engine.begin() as connection:
            connection.exec_driver_sql("delete from apollo_alembic_version")
        assert readiness(site) == (503, "unready")
        assert site.client().get("/healthz").text == "ok", "the process itself is well"
    messages = [record.getMessage() for record in caplog.records]
    assert [it.partition(":")[0] for it in messages] == [
        "Not ready",
        "Ready",
        "Not ready",
        "Not ready",
        "Ready",
        "Not ready",
    ]
    assert "no daemon runs" in messages[0]
    assert "no daemon runs" in messages[2]
    assert "a thread of the daemon has not been heard of" in messages[3]
    assert "Apollo's schema is missing" in messages[5]


def test_a_code_location_that_is_not_loaded_is_missing(
    serve_site: ServeSite, caplog: pytest.LogCaptureFixture
) -> None:
    with serve_site(servers=[CodeServer("shop", "127.0.0.1", free_port())]) as site:
        register_daemon(site)
        beat(site.instance)
        with caplog.at_level(logging.INFO, "apollo.health"):
            assert readiness(site) == (503, "unready")
        assert "the code location shop is not loaded" in caplog.text


def test_a_database_that_does_not_answer_is_missing_within_three_seconds(
    serve_site: ServeSite, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "_LIMIT_SECONDS", 0.3)
    with serve_site() as site:
        register_daemon(site)
        beat(site.instance)
        monkeypatch.setattr(health, "all_daemons_live", lambda _instance: time.sleep(1.5))
        with caplog.at_level(logging.INFO, "apollo.health"):
            began = time.monotonic()
            assert readiness(site) == (503, "unready")
            assert time.monotonic() - began < 1.2
        assert "no answer in time" in caplog.text


def test_somebody_who_asks_all_the_time_makes_it_look_once(
    serve_site: ServeSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "_KEPT_SECONDS", 60)
    looks = []
    look = health.Health.look
    monkeypatch.setattr(health.Health, "look", lambda self: looks.append(1) or look(self))
    with serve_site() as site:
        assert {readiness(site) for _ in range(20)} == {(503, "unready")}
    assert len(looks) == 1
