"""Which runs may go, when it is time to prune, and which directories nobody refers to."""

import os
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from dagster_apollo.errors import ConfigurationError
from dagster_apollo.retention.choice import Kept, RunFacts, choose_runs
from dagster_apollo.retention.contract import is_due, load_retention
from dagster_apollo.retention.files import stale_below
from dagster_apollo.retention.prune import paced, run_through
from dagster_apollo.retention.report import Item, Report

pytestmark = pytest.mark.unit

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
OLD, NEW = NOW - timedelta(days=100), NOW - timedelta(days=1)
BEFORE = NOW - timedelta(days=90)
NOTHING = Kept(frozenset(), frozenset())


def run(name: str, ended: datetime | None = OLD, **facts: str) -> RunFacts:
    values: dict[str, str | None] = {"root": name, "job": "build", "partition": None}
    return RunFacts(run_id=name, ended=ended, **{**values, "backfill": None, **facts})


def chosen(*runs: RunFacts, kept: Kept = NOTHING, per_job: int = 1) -> list[list[str]]:
    return choose_runs(runs, kept, BEFORE, per_job)


def test_old_runs_go_the_oldest_first_and_the_latest_of_each_job_stay() -> None:
    runs = [run("d", job="other"), run("c"), run("b"), run("a")]
    assert chosen(*runs) == [["a"], ["b"]]
    assert chosen(*runs, per_job=2) == [["a"]]
    assert chosen(*runs, per_job=3) == []


def test_what_is_young_or_not_over_stays() -> None:
    assert chosen(run("c"), run("b", NEW), run("a", None)) == []
    assert chosen(run("b"), run("a", BEFORE)) == []


@pytest.mark.parametrize(
    "kept",
    [Kept(frozenset({"a"}), frozenset()), Kept(frozenset(), frozenset({"fill"}))],
    ids=["points", "backfill"],
)
def test_what_something_points_to_stays(kept: Kept) -> None:
    assert chosen(run("b"), run("a", backfill="fill"), kept=kept) == []
    assert chosen(run("b"), run("a", backfill="over"), kept=NOTHING) == [["a"]]


def test_a_group_goes_or_stays_as_a_whole() -> None:
    """It stays for its oldest run and for its newest alike."""
    runs = [run("latest"), run("c", root="a"), run("b", root="a"), run("a")]
    assert chosen(*runs) == [["a", "b", "c"]]
    for name in "abc":
        assert chosen(*runs, kept=Kept(frozenset({name}), frozenset())) == []
    assert chosen(run("latest"), run("b", NEW, root="a"), run("a")) == []


def test_a_group_goes_though_its_first_run_is_gone() -> None:
    assert chosen(run("latest"), run("c", root="a"), run("b", root="a")) == [["b", "c"]]


def test_the_latest_run_of_each_partition_of_a_job_stays() -> None:
    runs = [run("d", partition="x"), run("c", partition="y"), run("b", partition="y"), run("a")]
    assert chosen(*runs) == [["a"], ["b"]]


def at(hour: int, day: int = 1) -> datetime:
    return datetime(2026, 3, day, hour, tzinfo=UTC)


@pytest.mark.parametrize(
    ("now", "started", "succeeded", "due"),
    [
        (at(12), None, False, True),
        (at(2, 2), at(3), True, False),
        (at(3, 2), at(3), True, True),
        (at(4, 2), at(3, 2), True, False),
        (at(2, 2), at(23), True, False),
        (at(2, 4), at(3), True, True),
        (at(4), at(3), False, True),
        (at(3) + timedelta(minutes=59), at(3), False, False),
    ],
)
def test_it_is_time_once_a_day_and_an_hour_after_a_failure(
    now: datetime, started: datetime | None, succeeded: bool, due: bool
) -> None:
    again = timedelta(hours=1)
    assert is_due(now, 3, started, succeeded=succeeded, again=again) is due


def test_the_policy_comes_from_the_environment() -> None:
    policy = load_retention({"APOLLO_RETENTION_DAYS": "7", "APOLLO_RETENTION_AUDIT_DAYS": "0"})
    assert policy.runs == timedelta(days=7)
    assert policy.audit is None
    assert policy.logs == timedelta(days=30)
    with pytest.raises(ConfigurationError) as caught:
        load_retention({"APOLLO_RETENTION_DAYS": "-1", "APOLLO_RETENTION_RUNS_PER_JOB": "0"})
    assert [it.variable for it in caught.value.problems] == [
        "APOLLO_RETENTION_DAYS",
        "APOLLO_RETENTION_RUNS_PER_JOB",
    ]


def make(home: Path, ages: Mapping[str, int]) -> None:
    for name, days in ages.items():
        folder = home / name
        folder.mkdir(parents=True)
        (folder / "dbt.log").write_text("12345")
        moment = (NOW - timedelta(days=days)).timestamp()
        os.utime(folder, (moment, moment))


def test_directories_of_runs_and_tenants_that_are_gone_go_and_a_warehouse_never(
    tmp_path: Path,
) -> None:
    make(
        tmp_path / "tenants",
        {
            "acme/runs/there": 9,
            "acme/runs/gone": 9,
            "acme/runs/begins": 0,
            "acme/prepared/prod": 9,
            "left/runs/gone": 9,
            "left/prepared/prod": 9,
            "left/dbt": 9,
            "left/environments/1a2b": 9,
            "late/runs/begins": 0,
            "late/prepared/prod": 9,
        },
    )
    (tmp_path / "tenants/left/left.duckdb").write_text("a warehouse")

    def stale(tenants: frozenset[str]) -> set[str]:
        found = stale_below(tmp_path, tenants, lambda run_id: run_id == "there", NOW)
        return {str(it.path.relative_to(tmp_path / "tenants")) for it in found}

    runs = {"acme/runs/gone", "left/runs/gone"}
    assert stale(frozenset({"acme"})) == {
        *runs,
        "left/prepared/prod",
        "left/dbt",
        "left/environments/1a2b",
    }
    assert stale(frozenset()) == runs  # the tenants cannot be read: all of them count as there


def test_a_prune_pauses_as_long_as_its_steps_take_and_half_a_second_at_most() -> None:
    pauses: list[float] = []

    def steps():
        yield
        yield
        return Report()

    run_through(paced(steps(), pauses.append))
    assert len(pauses) == 2
    assert all(0 <= it <= 0.5 for it in pauses)


def test_an_item_has_the_oldest_moment_and_all_sizes() -> None:
    item = Item("events")
    item.add(2, NEW, 10)
    item.add(3, OLD.replace(tzinfo=None), 5)
    assert (item.rows, item.oldest, item.size) == (5, OLD, 15)
