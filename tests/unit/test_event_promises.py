"""Ids of materializations that are not written yet."""

import pytest
from dagster import AssetKey

from dagster_apollo.instance.event_promises import Promises
from tests.unit.events import line, materialization

pytestmark = pytest.mark.unit

A, B = AssetKey("a"), AssetKey("b")


def test_only_materializations_are_referred_to() -> None:
    promises = Promises()
    promises.make(line())
    assert promises.records([A]) is None


def test_a_promise_is_replaced_by_the_id_wherever_it_appears() -> None:
    promises, event = Promises(), materialization("a")
    promises.make(event)
    promise = promises.of(event)
    assert promise is not None
    text = (
        f'{{"storage_id": {promise}, "tag": "{promise}", "other": {promise + 1}, "n": 1{promise}}}'
    )
    assert promises.kept_in(text) == text
    promises.keep({promise: 42})
    expected = f'{{"storage_id": 42, "tag": "42", "other": {promise + 1}, "n": 1{promise}}}'
    assert promises.kept_in(text) == expected
    assert (promises.id_of(promise), promises.id_of(7)) == (42, 7)


def test_records_are_those_of_the_latest_materializations_or_none() -> None:
    promises = Promises()
    first, last = materialization("a", at=1.0), materialization("a", at=2.0)
    promises.make(first)
    promises.make(last)
    (record,) = promises.records([A])
    assert record.asset_entry.last_materialization is last
    assert record.asset_entry.last_materialization_storage_id == promises.of(last)
    assert promises.records([A, B]) is None


def test_a_record_has_the_id_once_it_is_known() -> None:
    promises, event = Promises(), materialization("a")
    promises.make(event)
    promises.keep({promises.of(event): 42})
    promises.release([event])
    assert promises.of(event) is None
    assert promises.records([A])[0].asset_entry.last_materialization_storage_id == 42


def test_promises_of_two_processes_differ() -> None:
    mine, yours, event = Promises(), Promises(), materialization("a")
    mine.make(event)
    yours.make(event)
    assert mine.of(event) != yours.of(event)


def test_nothing_is_left_when_nobody_can_refer_to_it() -> None:
    promises, event = Promises(), materialization("a")
    promises.make(event)
    promises.forget()
    assert promises.records([A]) is None
    assert promises.of(event) is None
