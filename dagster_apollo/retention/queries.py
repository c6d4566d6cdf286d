"""Statements that retention makes in several places, each of them short."""

import itertools
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final, TypeVar

from sqlalchemy import Column, Connection, Engine, Executable, func, select, text

_LOCK_WAIT: Final = "1s"
_T = TypeVar("_T")


@contextmanager
def short_transaction(engine: Engine) -> Iterator[Connection]:
    """A transaction that gives up where it would have to wait for others."""
    with engine.begin() as connection:
        connection.execute(text(f"set local lock_timeout = '{_LOCK_WAIT}'"))
        yield connection


def values_of(connection: Connection, query: Executable) -> list[Any]:
    """The first column of what a query finds."""
    return list(connection.execute(query).scalars())


def row_of(connection: Connection, query: Executable) -> tuple[Any, ...]:
    """The only row that a query finds."""
    return tuple(connection.execute(query).one())


def distinct(connection: Connection, column: "Column[Any]") -> Iterator[str]:
    """The distinct values of a column that leads an index, each by one step in that."""
    least = select(func.min(column))
    value: str | None = connection.execute(least).scalar()
    while value is not None:
        yield value
        value = connection.execute(least.where(column > value)).scalar()


def batches(values: Iterable[_T], size: int) -> Iterator[list[_T]]:
    """Values in lists of a size; the last one may be shorter."""
    iterator = iter(values)
    while batch := list(itertools.islice(iterator, size)):
        yield batch
