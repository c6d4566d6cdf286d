"""A stream in the database: one row that says how long it is, and rows that hold parts of it.

These functions are steps of one transaction. The first row is locked meanwhile, so that processes
that write the same stream take turns, and what was stored before a connection broke is not stored
again. Each statement finds its rows by a primary key.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from sqlalchemy import Connection, bindparam, func, select

from dagster_apollo.instance.database import COMPUTE_LOG, COMPUTE_LOG_CHUNK
from dagster_apollo.instance.postgres_logs.window import Part, Window, lay_out

LOG: Final = COMPUTE_LOG.c
CHUNK: Final = COMPUTE_LOG_CHUNK.c
IS_LOG: Final = (LOG.log_key == bindparam("key")) & (LOG.stream == bindparam("of"))
IS_CHUNK: Final = (CHUNK.log_key == bindparam("key")) & (CHUNK.stream == bindparam("of"))
"""The rows of one stream; its `key` and what it is the stream `of` are parameters."""


def lock(connection: Connection, of: Mapping[str, str]) -> int | None:
    """Keep others from writing to a stream; returns its length, None where it was deleted."""
    return connection.scalar(select(LOG.length).where(IS_LOG).with_for_update(), of)


def locate(parts: Sequence[Part], length: int, *, is_shared: bool) -> list[Part]:
    """What of some parts is new to a stream.

    Args:
        parts: the parts, in order.
        length: how long the stream is.
        is_shared: whether others write it: then all are new, and go after what is there.
    """
    shift = length - parts[0].position if is_shared and parts else 0
    moved = [Part(part.position + shift, part.data) for part in parts]
    return [
        Part(max(part.position, length), part.data[max(0, length - part.position) :])
        for part in moved
        if part.end > length
    ]


def insert(
    connection: Connection, of: Mapping[str, str], parts: Sequence[Part], window: Window
) -> None:
    """Add parts: the last row grows, or there are new ones."""
    if not parts:
        return
    last = connection.execute(
        select(CHUNK.position, func.octet_length(CHUNK.data))
        .where(IS_CHUNK)
        .order_by(CHUNK.position.desc())
        .limit(1),
        of,
    ).first()
    more, rows = lay_out(parts, (last[0], last[1]) if last else None, window)
    if last and more:
        connection.execute(
            COMPUTE_LOG_CHUNK.update()
            .where(IS_CHUNK, CHUNK.position == last[0])
            .values(data=CHUNK.data.concat(more)),
            of,
        )
    if rows:
        names = {"log_key": of["key"], "stream": of["of"]}
        values = [{**names, "position": row.position, "data": row.data} for row in rows]
        connection.execute(COMPUTE_LOG_CHUNK.insert(), values)


def note(connection: Connection, of: Mapping[str, str], length: int, *, is_last: bool) -> None:
    """Say how long a stream is now, and whether it is complete."""
    values = {"length": length, "complete": is_last, "updated_at": func.now()}
    connection.execute(COMPUTE_LOG.update().where(IS_LOG).values(values), of)


def drop(connection: Connection, of: Mapping[str, str], length: int, window: Window) -> None:
    """Delete what the window no longer keeps of a stream of some length."""
    if length > window.max_bytes:
        is_middle = (CHUNK.position >= window.head) & (CHUNK.position < length - window.tail)
        connection.execute(COMPUTE_LOG_CHUNK.delete().where(IS_CHUNK, is_middle), of)
