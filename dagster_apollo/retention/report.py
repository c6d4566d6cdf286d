"""What a prune has removed or would remove, and how the last one ended."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Final

from dagster import DagsterInstance

_KEY: Final = "apollo/retention"
"""Where Dagster's key-value table has the last prune."""


@dataclass
class Item:
    """One kind of thing.

    Args:
        what: what it is.
        rows: how many go.
        oldest: when the oldest of them was made.
        size: about how many bytes they are; None where that is not known.
    """

    what: str
    rows: int = 0
    oldest: datetime | None = None
    size: int | None = None

    def add(self, rows: int, oldest: datetime | None = None, size: int | None = None) -> None:
        """Count more of it."""
        self.rows += rows
        if oldest is not None:
            oldest = oldest if oldest.tzinfo else oldest.replace(tzinfo=UTC)
            self.oldest = oldest if self.oldest is None else min(self.oldest, oldest)
        if size is not None:
            self.size = (self.size or 0) + size


class Report:
    """What goes, by kind, in the order in which it was found."""

    def __init__(self) -> None:
        self._items: dict[str, Item] = {}

    def of(self, what: str) -> Item:
        """The item of a kind."""
        return self._items.setdefault(what, Item(what))

    @property
    def items(self) -> list[Item]:
        """All kinds, those of which nothing goes among them."""
        return list(self._items.values())

    @property
    def rows(self) -> Mapping[str, int]:
        """How much of each kind goes; kinds of which nothing does are left out."""
        return {item.what: item.rows for item in self.items if item.rows}


@dataclass(frozen=True)
class Outcome:
    """How a prune ended, or that it is under way.

    Args:
        started: when it began.
        ended: when it ended; None while it has not, or where its process died.
        removed: how much of each kind is gone.
        error: why it ended early, in words that hold no value; None where it did not.
        succeeded: when the last one began that came to its end.
    """

    started: datetime
    ended: datetime | None = None
    removed: Mapping[str, int] = field(default_factory=dict)
    error: str | None = None
    succeeded: datetime | None = None

    @property
    def is_good(self) -> bool:
        """Whether it came to its end."""
        return self.ended is not None and self.error is None


def write_outcome(instance: DagsterInstance, outcome: Outcome) -> None:
    """Say how a prune ended, for `apollo status`, the metrics and alerts."""
    text = json.dumps(
        asdict(outcome), default=lambda value: value.astimezone(UTC).isoformat(timespec="seconds")
    )
    instance.run_storage.set_cursor_values({_KEY: text})


def read_outcome(instance: DagsterInstance) -> Outcome | None:
    """How the last prune of an instance ended; None where there was none."""
    text = instance.run_storage.get_cursor_values({_KEY}).get(_KEY)
    if text is None:
        return None
    values = json.loads(text)
    for name in ("started", "ended", "succeeded"):
        values[name] = datetime.fromisoformat(values[name]) if values[name] else None
    return Outcome(**values)
