"""The way of events to the database, with a database that does as it is told."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from dagster import DagsterEventType, EventLogEntry

from dagster_apollo.instance.event_buffer import Limits
from dagster_apollo.instance.event_delivery import EventDelivery
from dagster_apollo.instance.event_promises import Promises
from dagster_apollo.instance.postgres_statements import Commit
from dagster_apollo.instance.postgres_writer import Batch, StorageUnavailableError
from tests.unit.events import line, status

pytestmark = pytest.mark.unit


class Database:
    """Takes batches, all or nothing."""

    def __init__(self) -> None:
        self.transactions: list[list[str]] = []
        self.is_away = False
        self.refused: set[str] = set()

    def write(self, batch: Batch) -> None:
        if self.is_away:
            raise StorageUnavailableError("away")
        texts = [event.user_message for event in batch.events]
        if self.refused.intersection(texts):
            raise ValueError("refused")
        self.transactions.append(texts)

    @property
    def events(self) -> list[str]:
        return [text for texts in self.transactions for text in texts]


@pytest.fixture
def database() -> Database:
    return Database()


@pytest.fixture
def delivery(database: Database, tmp_path: Path) -> EventDelivery:
    """One that writes nothing by time."""
    limits = Limits(delay=60.0, wait=0.0, elsewhere=0.0)
    return EventDelivery(database.write, database.write, tmp_path / "spill", limits, Promises())


def store(delivery: EventDelivery, events: Sequence[EventLogEntry]) -> None:
    for event in events:
        delivery.store([event])


END = status(DagsterEventType.STEP_SUCCESS)


def test_an_event_outside_a_buffered_run_is_written_at_once(
    delivery: EventDelivery, database: Database
) -> None:
    with delivery.buffering("other"):
        store(delivery, [line("one"), line("two")])
        assert database.transactions == [["one"], ["two"]]


def test_a_status_takes_what_waits_with_it(delivery: EventDelivery, database: Database) -> None:
    with delivery.buffering("run"):
        store(delivery, [line("one"), line("two")])
        assert database.transactions == []
        store(delivery, [END])
        assert database.transactions == [["one", "two", "STEP_SUCCESS"]]


def test_reading_writes_what_waits(delivery: EventDelivery, database: Database) -> None:
    with delivery.buffering("run"):
        store(delivery, [line("one")])
        delivery.flush()
        assert database.transactions == [["one"]]


def test_nothing_waits_after_the_end(delivery: EventDelivery, database: Database) -> None:
    with delivery.buffering("run"):
        store(delivery, [line("one")])
    assert database.transactions == [["one"]]
    store(delivery, [line("two")])
    assert database.transactions == [["one"], ["two"]]


def test_an_event_that_is_refused_takes_no_other_with_it_and_is_told_of(
    delivery: EventDelivery, database: Database
) -> None:
    database.refused = {"bad"}

    def tell() -> None:
        with delivery.buffering("run"):
            store(delivery, [line("one"), line("bad"), line("two"), END])

    with pytest.raises(ValueError, match="refused"):
        tell()
    assert database.events == ["one", "two", "STEP_SUCCESS"]


def test_a_refused_event_that_does_not_wait_is_its_callers(
    delivery: EventDelivery, database: Database
) -> None:
    database.refused = {"STEP_SUCCESS"}
    with delivery.buffering("run"):
        store(delivery, [line("one")])
        with pytest.raises(ValueError, match="refused"):
            store(delivery, [END])
        store(delivery, [line("two")])
    assert database.events == ["one", "two"]


def test_a_batch_of_the_callers_is_not_torn(delivery: EventDelivery, database: Database) -> None:
    database.refused = {"bad"}
    with pytest.raises(ValueError, match="refused"):
        delivery.store([line("one"), line("bad")])
    assert database.events == []


def test_events_go_to_disk_and_come_back_in_order(
    delivery: EventDelivery, database: Database, tmp_path: Path
) -> None:
    with delivery.buffering("run"):
        store(delivery, [line("one")])
        database.is_away = True
        with pytest.raises(StorageUnavailableError, match="wait in"):
            store(delivery, [END])
        (spill,) = tmp_path.glob("spill/*.jsonl")
        store(delivery, [line("two")])
        database.is_away = False
        store(delivery, [END])
    assert database.events == ["one", "two", "STEP_SUCCESS"]
    assert not spill.exists()


def test_a_failure_is_kept_with_what_waits(
    delivery: EventDelivery, database: Database, tmp_path: Path
) -> None:
    with delivery.buffering("run"):
        database.is_away = True
        store(delivery, [line("one"), status(DagsterEventType.RUN_FAILURE)])
        database.is_away = False
    assert database.events == ["one", "PIPELINE_FAILURE"]


def test_a_failure_that_may_be_stored_is_on_disk_with_its_transaction(
    delivery: EventDelivery, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_at_commit(batch: Batch) -> None:
        batch.doubt = Commit(xid=7, pid=8)
        database.is_away = True
        raise StorageUnavailableError("away")

    with delivery.buffering("run"):
        store(delivery, [line("one")])
        monkeypatch.setattr(delivery, "_write", break_at_commit)
        store(delivery, [status(DagsterEventType.STEP_FAILURE)])
        (spill,) = tmp_path.glob("spill/*.jsonl")
        lines = [json.loads(text) for text in spill.read_text().splitlines()]
        database.is_away = False
    assert ["event" in it for it in lines] == [True, True, False]
    assert lines[-1] == {"xid": 7, "pid": 8, "start": 0, "count": 2, "ids": {}}


def test_what_raises_within_is_not_hidden_by_the_database(
    delivery: EventDelivery, database: Database, tmp_path: Path
) -> None:
    def fail() -> None:
        with delivery.buffering("run"):
            store(delivery, [line("one")])
            database.is_away = True
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        fail()
    assert list(tmp_path.glob("spill/*.jsonl"))


def test_a_process_that_closes_while_the_database_is_away_says_that_the_run_failed(
    delivery: EventDelivery, database: Database, tmp_path: Path
) -> None:
    database.is_away = True
    with delivery.buffering("run"), pytest.raises(StorageUnavailableError):
        store(delivery, [END])
    delivery.close()
    (spill,) = tmp_path.glob("spill/*.jsonl")
    assert "PIPELINE_FAILURE" in spill.read_text()


def test_without_disk_events_stay_in_memory(
    delivery: EventDelivery, database: Database, tmp_path: Path
) -> None:
    (tmp_path / "spill").write_text("a file where the folder would be")
    with delivery.buffering("run"):
        store(delivery, [line("one")])
        database.is_away = True
        with pytest.raises(StorageUnavailableError):
            store(delivery, [END])
        database.is_away = False
    assert database.events == ["one"]
