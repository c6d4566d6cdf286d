"""Logs in Postgres: written by the process that captures, read by the webserver.

A log is a row for each of its streams, and rows that hold parts of it. The first row is locked
while parts are added, and says how long the log is, so that what was stored before a connection
broke is not stored again. Every statement finds its rows by a primary key.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy
from pydantic import SecretStr
from sqlalchemy import bindparam, cast, column, func, select, table, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import SQLAlchemyError

from dagster_apollo.errors import ApolloError
from dagster_apollo.instance.database import COMPUTE_LOG, COMPUTE_LOG_CHUNK, engine_of
from dagster_apollo.instance.postgres_logs.window import (
    CHUNK_BYTES,
    Part,
    Window,
    join,
    key_parts,
    key_text,
    lay_out,
)

_ROWS_AT_A_TIME: Final = 4
_RUNS: Final = table("runs", column("run_id"))
_LOG: Final = COMPUTE_LOG.c
_CHUNK: Final = COMPUTE_LOG_CHUNK.c
_IS_LOG: Final = (_LOG.log_key == bindparam("key")) & (_LOG.stream == bindparam("of"))
_IS_CHUNK: Final = (_CHUNK.log_key == bindparam("key")) & (_CHUNK.stream == bindparam("of"))

# A log is complete when its process said so. One that was killed, or could not reach the database,
# says nothing: its log is complete when its run has ended and nothing has come for a while.
_STATES: Final = text("""
    select asked.log_key, log.stream, coalesce(log.length, 0) as length,
        coalesce(log.complete, false) or (
            run.status in ('SUCCESS', 'FAILURE', 'CANCELED')
            and coalesce(run.end_time, 0) < extract(epoch from now()) - :quiet
            and coalesce(log.updated_at, '-infinity') < now() - make_interval(secs => :quiet)
        ) as complete
    from unnest(cast(:keys as text[]), cast(:run_ids as text[])) as asked (log_key, run_id)
    left join runs as run on run.run_id = asked.run_id
    left join apollo_compute_log as log on log.log_key = asked.log_key
""")
_QUIET_SECONDS: Final = 30


class ComputeLogError(ApolloError):
    """The logs cannot be read or written."""


@dataclass(frozen=True)
class LogState:
    """How far a log has got.

    Args:
        lengths: the bytes written to each stream.
        is_complete: whether no more will come.
    """

    lengths: Mapping[str, int]
    is_complete: bool


class ComputeLogStore:
    """The logs of one database, over one connection at a time."""

    def __init__(self, uri: SecretStr, window: Window) -> None:
        self._engine = engine_of(uri)
        self._window = window

    def open(self, log_key: Sequence[str], streams: Sequence[str]) -> dict[str, int]:
        """Make sure that a log is there.

        Args:
            log_key: the log; if it is a run's, it goes when the run is deleted.
            streams: the streams that will be written.

        Returns:
            How many bytes each stream has.

        Raises:
            ComputeLogError: the database cannot be reached, or refuses.
        """
        key = key_text(log_key)
        run_id = select(_RUNS.c.run_id).where(_RUNS.c.run_id == key.split("/")[0])
        with self._transaction() as connection:
            for stream in streams:
                statement = insert(COMPUTE_LOG).values(
                    log_key=key, stream=stream, run_id=run_id.scalar_subquery()
                )
                connection.execute(statement.on_conflict_do_nothing())
            found = connection.execute(select(_LOG.stream, _LOG.length).where(_LOG.log_key == key))
            return {row.stream: row.length for row in found if row.stream in streams}

    def append(
        self,
        log_key: Sequence[str],
        stream: str,
        parts: Sequence[Part],
        *,
        is_last: bool,
        is_shared: bool = False,
    ) -> bool:
        """Add parts to a stream, in one transaction, and drop what the window no longer keeps.

        Args:
            log_key: a log that is open.
            stream: one of its streams.
            parts: what is new, in order; what is there of them already is left out.
            is_last: whether the stream is complete.
            is_shared: whether others write the same stream: parts go after what is there, wherever
                they say they are.

        Returns:
            Whether the log is still there; False where it was deleted.

        Raises:
            ComputeLogError: the database cannot be reached, or refuses.
        """
        of = {"key": key_text(log_key), "of": stream}
        with self._transaction() as connection:
            length = connection.scalar(select(_LOG.length).where(_IS_LOG).with_for_update(), of)
            if length is None:
                return False
            if is_shared and parts:
                shift = length - parts[0].position
                parts = [Part(part.position + shift, part.data) for part in parts]
            new = [
                Part(max(part.position, length), part.data[max(0, length - part.position) :])
                for part in parts
                if part.end > length
            ]
            self._insert(connection, of, new)
            length = new[-1].end if new else length
            connection.execute(
                COMPUTE_LOG.update()
                .where(_IS_LOG)
                .values(length=length, complete=is_last, updated_at=func.now()),
                of,
            )
            if length > self._window.max_bytes:
                connection.execute(
                    COMPUTE_LOG_CHUNK.delete().where(
                        _IS_CHUNK,
                        _CHUNK.position >= self._window.head,
                        _CHUNK.position < length - self._window.tail,
                    ),
                    of,
                )
        return True

    def read(
        self, log_key: Sequence[str], stream: str, offset: int, max_bytes: int | None
    ) -> tuple[bytes | None, int]:
        """What a stream has from an offset on (see `window.join`).

        Returns:
            The bytes, None where there is no such log, and the offset to go on from.

        Raises:
            ComputeLogError: the database cannot be reached, or refuses.
        """
        of = {"key": key_text(log_key), "of": stream}
        with self._transaction() as connection:
            log = connection.execute(select(_LOG.length, _LOG.complete).where(_IS_LOG), of).first()
            if log is None:
                return None, offset
            if offset >= log.length:
                return b"", offset
            skipped = func.greatest(offset - _CHUNK.position, 0)
            rows = connection.execute(
                select(
                    func.greatest(_CHUNK.position, offset).label("position"),
                    func.substr(_CHUNK.data, cast(skipped, sqlalchemy.Integer) + 1).label("data"),
                )
                .where(
                    _IS_CHUNK,
                    _CHUNK.position > offset - CHUNK_BYTES,
                    _CHUNK.position + func.octet_length(_CHUNK.data) > offset,
                )
                .order_by(_CHUNK.position)
                .execution_options(stream_results=True, yield_per=_ROWS_AT_A_TIME),
                of,
            )
            parts = (Part(row.position, bytes(row.data)) for row in rows)
            return join(parts, offset, max_bytes, is_growing=not log.complete)

    def states(self, log_keys: Sequence[Sequence[str]]) -> list[LogState]:
        """How far each of some logs has got, in one statement.

        Raises:
            ComputeLogError: the database cannot be reached, or refuses.
        """
        keys = [key_text(log_key) for log_key in log_keys]
        asked = {"keys": keys, "run_ids": [key.split("/")[0] for key in keys]}
        with self._transaction() as connection:
            rows = connection.execute(_STATES, {**asked, "quiet": _QUIET_SECONDS}).all()
        found: dict[str, list[Any]] = {key: [] for key in keys}
        for row in rows:
            found[row.log_key].append(row)
        return [
            LogState(
                {row.stream: row.length for row in found[key] if row.stream},
                all(row.complete for row in found[key]),
            )
            for key in keys
        ]

    def keys(self, prefix: Sequence[str], stream: str) -> list[list[str]]:
        """The keys of one part more than a prefix that have a stream.

        Raises:
            ComputeLogError: the database cannot be reached, or refuses.
        """
        start = f"{key_text(prefix)}/" if prefix else ""
        rest = func.substr(_LOG.log_key, len(start) + 1)
        statement = select(_LOG.log_key).where(
            _LOG.stream == stream, _starts_with(start), ~rest.contains("/", autoescape=True)
        )
        with self._transaction() as connection:
            return [key_parts(row.log_key) for row in connection.execute(statement)]

    def delete(self, log_key: Sequence[str]) -> None:
        """Delete a log.

        Raises:
            ComputeLogError: the database cannot be reached, or refuses.
        """
        with self._transaction() as connection:
            connection.execute(COMPUTE_LOG.delete().where(_LOG.log_key == key_text(log_key)))

    def delete_below(self, prefix: Sequence[str]) -> None:
        """Delete the logs whose keys begin with a prefix and go on.

        Raises:
            ComputeLogError: the database cannot be reached, or refuses.
        """
        with self._transaction() as connection:
            connection.execute(COMPUTE_LOG.delete().where(_starts_with(f"{key_text(prefix)}/")))

    def close(self) -> None:
        """Close the connection, if there is one; the next statement opens another."""
        self._engine.dispose()

    def _insert(
        self, connection: sqlalchemy.Connection, of: Mapping[str, str], parts: Sequence[Part]
    ) -> None:
        if not parts:
            return
        last = connection.execute(
            select(_CHUNK.position, func.octet_length(_CHUNK.data))
            .where(_IS_CHUNK)
            .order_by(_CHUNK.position.desc())
            .limit(1),
            of,
        ).first()
        more, rows = lay_out(parts, (last[0], last[1]) if last else None, self._window)
        if last and more:
            connection.execute(
                COMPUTE_LOG_CHUNK.update()
                .where(_IS_CHUNK, _CHUNK.position == last[0])
                .values(data=_CHUNK.data.concat(more)),
                of,
            )
        if rows:
            connection.execute(
                COMPUTE_LOG_CHUNK.insert(),
                [{"log_key": of["key"], "stream": of["of"], **vars(row)} for row in rows],
            )

    @contextmanager
    def _transaction(self) -> Iterator[sqlalchemy.Connection]:
        try:
            with self._engine.begin() as connection:
                yield connection
        except SQLAlchemyError as error:  # its text may name the host and quote what was printed
            kind = type(getattr(error, "orig", None) or error).__name__
            mend = (
                "Run `apollo migrate`."
                if kind == "UndefinedTable"
                else "Check that the database of DAGSTER_PG_URI is up."
            )
            raise ComputeLogError(
                f"The compute logs cannot be reached in the database ({kind}). {mend}"
            ) from None


def _starts_with(start: str) -> sqlalchemy.ColumnElement[bool]:
    return _LOG.log_key.startswith(start, autoescape=True)
