"""Which production processes belong together."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from dagster_apollo.services.registry import ServiceRecord, disagreements

pytestmark = pytest.mark.unit

NOW = datetime(2026, 1, 2, 12, tzinfo=UTC)
DEPLOY = 900


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def record(service: str, release: str, started: float, **more: Any) -> ServiceRecord:
    """A service that started so many seconds ago and lives."""
    values = {
        "id": f"{service}-{release}-{started}",
        "name": service,
        "dagster_home": "/srv/apollo",
        "heartbeat_at": ago(5),
        **more,
    }
    return ServiceRecord(service=service, release=release, started_at=ago(started), **values)


def variables(own: ServiceRecord, *others: ServiceRecord) -> list[str]:
    found = disagreements(own, [own, *others], NOW, DEPLOY)
    return [problem.variable for problem in found]


def test_services_of_one_release_and_one_home_agree() -> None:
    others = (record("daemon", "a", 50), record("code-server", "a", 9_000))
    assert variables(record("webserver", "a", 0), *others) == []


def test_alone_there_is_nothing_to_agree_on() -> None:
    assert variables(record("webserver", "a", 0)) == []


def test_another_home_is_refused_at_once() -> None:
    own = record("webserver", "a", 0, dagster_home="/elsewhere")
    (problem,) = disagreements(own, [own, record("daemon", "a", 5)], NOW, DEPLOY)
    assert problem.variable == "DAGSTER_HOME"
    assert "/elsewhere here and /srv/apollo at the daemon" in problem.what


def test_a_home_may_be_changed_by_a_deploy() -> None:
    old = record("daemon", "a", 100_000)
    assert variables(record("webserver", "a", 0, dagster_home="/elsewhere"), old) == []


def test_a_home_that_still_differs_after_a_deploy_is_refused() -> None:
    earlier = record("webserver", "a", 1_000, dagster_home="/elsewhere", stopped_at=ago(1))
    own = record("webserver", "a", 0, dagster_home="/elsewhere")
    assert variables(own, earlier, record("daemon", "a", 100_000)) == ["DAGSTER_HOME"]


def test_releases_may_differ_while_a_deploy_goes_on() -> None:
    assert variables(record("webserver", "b", 0), record("daemon", "a", 100_000)) == []
    assert variables(record("webserver", "b", 899), record("daemon", "a", 100_000)) == []


def test_a_service_that_was_left_behind_is_named() -> None:
    own = record("webserver", "b", 0)
    earlier = record("webserver", "b", 2_000, stopped_at=ago(1_000))
    (problem,) = disagreements(own, [own, earlier, record("daemon", "a", 100_000)], NOW, DEPLOY)
    assert problem.variable == "APOLLO_RELEASE"
    assert "is b here and has been a at the daemon for 2000 s" in problem.what


def test_a_restart_of_the_old_release_during_a_deploy_is_no_disagreement() -> None:
    old = record("webserver", "a", 100_000, stopped_at=ago(1))
    assert variables(record("webserver", "a", 0), old, record("daemon", "b", 30)) == []


def test_a_roll_back_begins_a_deploy_of_its_own() -> None:
    history = (
        record("webserver", "a", 100_000, stopped_at=ago(50_000)),
        record("webserver", "b", 50_000, stopped_at=ago(1)),
        record("daemon", "b", 50_000),
    )
    assert variables(record("webserver", "a", 0), *history) == []


def test_only_the_newest_instance_of_a_service_counts() -> None:
    draining = record("code-server", "a", 50_000)
    assert (
        variables(record("webserver", "b", 2_000), draining, record("code-server", "b", 1_990))
        == []
    )


@pytest.mark.parametrize(
    "gone", [{"stopped_at": ago(1)}, {"heartbeat_at": ago(61)}], ids=["stopped", "silent"]
)
def test_what_does_not_run_does_not_count(gone: dict[str, Any]) -> None:
    other = record("daemon", "a", 800, dagster_home="/elsewhere", **gone)
    assert variables(record("webserver", "b", 5_000), other) == []


def test_code_servers_are_told_apart_by_their_locations() -> None:
    others = (
        record("code-server", "a", 5_000, name="acme"),
        record("code-server", "b", 5_000, name="apollo"),
    )
    own = record("webserver", "b", 5_000)
    (problem,) = disagreements(own, [own, *others], NOW, DEPLOY)
    assert "has been a at the code server of acme" in problem.what
