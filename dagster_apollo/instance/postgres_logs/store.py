"""Logs in Postgres: written by the process that captures, read by the webserver."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from pydantic import SecretStr
from sqlalchemy import ColumnElement, Connection, Integer, cast, func, select, text
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import SQLAlchemyError

from dagster_apollo.errors import ApolloError
from dagster_apollo.instance.database import COMPUTE_LOG, METADATA, engine_of
from dagster_apollo.instance.postgres_logs import rows
from dagster_apollo.instance.postgres_logs.rows import CHUNK, IS_CHUNK, IS_LOG, LOG
from dagster_apollo.instance.postgres_logs.window import (
    CHUNK_BYTES,
    Part,
    Window,
    join,
    key_parts,
    key_text,
)

_RUN: Final = METADATA.tables["runs"].c
_ROWS_AT_A_TIME: Final = 4
_QUIET_SECONDS: Final = 30

# A log is complete when its process said so. One whose host is gone says nothing: its log is
# complete when its run has ended and nothing has come for a while.
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


class ComputeLogError(ApolloError):
    """The logs cannot be read or written: the database cannot be reached, or refuses."""


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
    """The logs of one database, over one connection at a time.

    Each method but `close` is one transaction, and raises ComputeLogError where that fails.

    Args:
        uri: the database.
        window: what is kept of each stream.
    """

    def __init__(self, uri: SecretStr, window: Window) -> None:
        self._engine = engine_of(uri)
        self._window = window

    def open(self, log_key: Sequence[str], streams: Sequence[str]) -> None:
        """Make sure that streams of a log are there. A run's log goes when the run is deleted."""
        key = key_text(log_key)
        run_id = select(_RUN.run_id).where(_RUN.run_id == key.split("/")[0]).scalar_subquery()
        values = [{"log_key": key, "stream": stream, "run_id": run_id} for stream in streams]
        statement = postgresql.insert(COMPUTE_LOG).values(values).on_conflict_do_nothing()
        with self._transaction() as connection:
            connection.execute(statement)

    def append(
        self,
        log_key: Sequence[str],
        stream: str,
        parts: Sequence[Part],
        *,
        is_last: bool,
        is_shared: bool = False,
    ) -> bool:
        """Add parts to a stream, and drop what the window no longer keeps.

        Args:
            log_key: a log that is open.
            stream: one of its streams.
            parts: what was written, in order; what is stored of it already is left out.
            is_last: whether the stream is complete with it.
            is_shared: whether others write the same stream: parts go after what is there, wherever
                they say they are.

        Returns:
            Whether the log is still there; False where it was deleted.
        """
        of = {"key": key_text(log_key), "of": stream}
        with self._transaction() as connection:
            length = rows.lock(connection, of)
            if length is None:
                return False
            new = rows.locate(parts, length, is_shared=is_shared)
            length = new[-1].end if new else length
            rows.insert(connection, of, new, self._window)
            rows.note(connection, of, length, is_last=is_last)
            rows.drop(connection, of, length, self._window)
            return True

    def read(
        self, log_key: Sequence[str], stream: str, offset: int, max_bytes: int | None
    ) -> tuple[bytes | None, int]:
        """What a stream has from an offset on (see `window.join`).

        Returns:
            The bytes, None where there is no such log, and the offset to go on from.
        """
        of = {"key": key_text(log_key), "of": stream}
        skipped = cast(func.greatest(offset - CHUNK.position, 0), Integer)
        chunks = (
            select(
                func.greatest(CHUNK.position, offset).label("position"),
                func.substr(CHUNK.data, skipped + 1).label("data"),
            )
            .where(
                IS_CHUNK,
                CHUNK.position > offset - CHUNK_BYTES,
                CHUNK.position + func.octet_length(CHUNK.data) > offset,
            )
            .order_by(CHUNK.position)
            .execution_options(stream_results=True, yield_per=_ROWS_AT_A_TIME)
        )
        with self._transaction() as connection:
            log = connection.execute(select(LOG.length, LOG.complete).where(IS_LOG), of).first()
            if log is None or offset >= log.length:
                return b"" if log else None, offset
            found = connection.execute(chunks, of)
            parts = (Part(row.position, bytes(row.data)) for row in found)
            return join(parts, offset, max_bytes, is_growing=not log.complete)

    def states(self, log_keys: Sequence[Sequence[str]]) -> list[LogState]:
        """How far each of some logs has got, in one statement."""
        keys = [key_text(log_key) for log_key in log_keys]
        asked = {"keys": keys, "run_ids": [key.split("/")[0] for key in keys]}
        with self._transaction() as connection:
            answer = connection.execute(_STATES, {**asked, "quiet": _QUIET_SECONDS}).all()
        found: dict[str, list[Any]] = {key: [] for key in keys}
        for row in answer:
            found[row.log_key].append(row)
        return [
            LogState(
                {row.stream: row.length for row in found[key] if row.stream},
                all(row.complete for row in found[key]),
            )
            for key in keys
        ]

    def keys(self, prefix: Sequence[str], stream: str) -> list[list[str]]:
        """The keys of one part more than a prefix that have a stream."""
        start = f"{key_text(prefix)}/" if prefix else ""
        rest = func.substr(LOG.log_key, len(start) + 1)
        statement = select(LOG.log_key).where(
            LOG.stream == stream, _starts_with(start), ~rest.contains("/", autoescape=True)
        )
        with self._transaction() as connection:
            return [key_parts(row.log_key) for row in connection.execute(statement)]

    def delete(self, log_key: Sequence[str]) -> None:
        """Delete a log."""
        with self._transaction() as connection:
            connection.execute(COMPUTE_LOG.delete().where(LOG.log_key == key_text(log_key)))

    def delete_below(self, prefix: Sequence[str]) -> None:
        """Delete the logs whose keys begin with a prefix and go on."""
        with self._transaction() as connection:
            connection.execute(COMPUTE_LOG.delete().where(_starts_with(f"{key_text(prefix)}/")))

    def close(self) -> None:
        """Close the connection, if there is one; the next statement opens another."""
        self._engine.dispose()

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
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


def _starts_with(start: str) -> ColumnElement[bool]:
    return LOG.log_key.startswith(start, autoescape=True)
