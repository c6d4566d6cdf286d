"""What a batch leaves in the tables."""

from datetime import UTC, datetime

import pytest
from dagster import EventLogEntry
from dagster._core.event_api import EventLogRecord
from dagster._serdes import serialize_value

from dagster_apollo.instance.event_promises import Promises
from dagster_apollo.instance.event_rows import (
    EventRow,
    asset_rows,
    check_stages,
    record_text,
    tag_rows,
)
from tests.unit.events import entry, evaluation, line, materialization, planned, planned_check

pytestmark = pytest.mark.unit


def row(event: EventLogEntry, **tags: str) -> EventRow:
    asset_key = event.dagster_event and event.dagster_event.asset_key
    values = {
        "event": serialize_value(event),
        "asset_key": asset_key.to_string() if asset_key else None,
        "timestamp": datetime.fromtimestamp(event.timestamp, UTC).replace(tzinfo=None),
    }
    return EventRow(event, values, tags)


def rows(*events: EventLogEntry) -> tuple[list[EventRow], range]:
    return [row(event) for event in events], range(100, 100 + len(events))


def test_a_record_is_composed_as_dagster_serializes_it() -> None:
    event = entry(materialization("a").dagster_event, text='"quotes" \\ and ümlauts\n')
    expected = serialize_value(EventLogRecord(storage_id=7, event_log_entry=event))
    assert record_text(serialize_value(event), 7) == expected


def test_the_last_event_of_an_asset_counts() -> None:
    first, last = materialization("a", at=1.0), materialization("a", at=2.0)
    (values,) = asset_rows(*rows(first, last))
    assert values["last_materialization"] == record_text(serialize_value(last), 101)
    assert values["last_materialization_timestamp"] == datetime.fromtimestamp(2.0, UTC)


def test_what_a_later_event_does_not_say_stays() -> None:
    first = materialization("a", at=1.0)
    (values,) = asset_rows(*rows(first, planned("a", at=2.0)))
    assert values["last_materialization"] == record_text(serialize_value(first), 100)
    assert values["last_materialization_timestamp"] == datetime.fromtimestamp(2.0, UTC)


def test_assets_are_written_in_one_order() -> None:
    found = asset_rows(*rows(planned("b"), line(), planned("c"), planned("a")))
    assert [values["asset_key"] for values in found] == ['["a"]', '["b"]', '["c"]']


def test_tags_carry_the_id_of_their_event() -> None:
    tagged = [row(line()), row(materialization("a"), version="1")]
    (values,) = tag_rows(tagged, [5, 6])
    assert (values["event_id"], values["key"], values["value"]) == (6, "version", "1")


def test_checks_planned_and_evaluated_are_one_stage_in_which_the_last_result_counts() -> None:
    events = (
        planned_check("a", "c"),
        evaluation("a", "c", passed=True),
        evaluation("a", "c", passed=False),
    )
    (stage,) = check_stages(*rows(*events), Promises())
    assert [values["execution_status"] for values in stage.planned] == ["PLANNED"]
    (values,) = stage.evaluated.values()
    assert values["execution_status"] == "FAILED"
    assert values["evaluation_event_storage_id"] == 102


def test_a_check_that_is_planned_after_its_result_begins_a_stage() -> None:
    stages = check_stages(*rows(evaluation("a", "c"), planned_check("a", "c")), Promises())
    assert [(len(stage.planned), len(stage.evaluated)) for stage in stages] == [(0, 1), (1, 0)]


def test_results_outside_a_run_are_rows_of_their_own() -> None:
    events = (evaluation("a", "c", run_id=""), evaluation("a", "c", run_id=""))
    (stage,) = check_stages(*rows(*events), Promises())
    assert len(stage.runless) == 2


def test_events_without_assets_and_checks_leave_nothing() -> None:
    batch = rows(line("one"), line("two"))
    assert asset_rows(*batch) == []
    assert tag_rows(*batch) == []
    assert check_stages(*batch, Promises()) == []
