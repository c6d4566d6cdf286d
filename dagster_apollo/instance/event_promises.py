"""Ids of materializations that are not written yet.

Dagster reads each asset that a step has materialized once more, for the id of the materialization:
the asset's checks and the assets downstream refer to it. Were the materialization written for that,
every batch would be of one asset. So it gets a promise instead, a number that no other can be
mistaken for, and wherever a promise appears in what is written later the id stands in its place.
"""

import itertools
import re
import secrets
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from dagster import AssetKey, DagsterEventType, EventLogEntry
from dagster._core.event_api import EventLogRecord
from dagster._core.storage.event_log.base import AssetEntry, AssetRecord

_FIRST: Final = 8 * 10**18
"""Promises are numbers of 19 digits, beginning with 8: within bigint, beyond any sequence."""
_PATTERN: Final = re.compile(r"\b8\d{18}\b")


class Promises:
    """The promises of this process, and what has become of them."""

    def __init__(self) -> None:
        self._numbers = itertools.count(_FIRST + secrets.randbelow(9 * 10**17))
        self._of_events: dict[int, tuple[int, EventLogEntry]] = {}  # by the event's identity
        self._latest: dict[AssetKey, tuple[int, EventLogEntry]] = {}
        self._ids: dict[int, int] = {}

    def make(self, event: EventLogEntry) -> None:
        """Promise an id, if the event is one that is referred to."""
        if event.dagster_event_type is not DagsterEventType.ASSET_MATERIALIZATION:
            return
        made = next(self._numbers), event
        self._of_events[id(event)] = made
        asset_key = event.get_dagster_event().asset_key
        if asset_key is not None:
            self._latest[asset_key] = made

    def take_over(self, promise: int, event: EventLogEntry) -> None:
        """Know the promise of an event that comes from disk."""
        self._of_events[id(event)] = promise, event

    def of(self, event: EventLogEntry) -> int | None:
        """The promise that was made for an event."""
        made = self._of_events.get(id(event))
        return made[0] if made else None

    def keep(self, ids: Mapping[int, int]) -> None:
        """Say which ids promised events are given; until they are committed it may change."""
        self._ids.update(ids)

    def release(self, events: Iterable[EventLogEntry]) -> None:
        """Forget which promises belong to events that are not this process's care any more."""
        for event in events:
            self._of_events.pop(id(event), None)

    def forget(self) -> None:
        """Forget all: nobody is left who could refer to them."""
        self._of_events.clear()
        self._latest.clear()
        self._ids.clear()

    def id_of(self, number: int) -> int:
        """The id that was promised by a number; the number itself, where it is no such promise."""
        return self._ids.get(number, number)

    def kept_in(self, text: str) -> str:
        """A text with ids in the place of promises."""
        if not self._ids:
            return text
        return _PATTERN.sub(lambda match: str(self.id_of(int(match[0]))), text)

    def records(self, asset_keys: Sequence[AssetKey]) -> list[AssetRecord] | None:
        """Records of assets that were materialized under promise; None unless all of them were."""
        found = [self._latest.get(asset_key) for asset_key in asset_keys]
        return (
            [
                AssetRecord(
                    storage_id=self.id_of(made[0]),
                    asset_entry=AssetEntry(
                        asset_key=asset_key,
                        last_materialization_record=EventLogRecord(self.id_of(made[0]), made[1]),
                        last_run_id=made[1].run_id,
                    ),
                )
                for asset_key, made in zip(asset_keys, found, strict=True)
                if made
            ]
            if found and all(found)
            else None
        )
