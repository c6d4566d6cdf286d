"""Events on local disk, for as long as the instance's database is away.

A spill is a file of JSON lines below DAGSTER_HOME, readable by its owner only. Lines are added and
never changed: events, and the transactions in which some of them are written, each noted just
before it is committed. So whoever reads the file, after whatever broke, can tell by the database
which events are stored already. The file is locked by the process that it belongs to; when that
process is gone, the next one that opens the instance on the host takes the file over.
"""

import fcntl
import hashlib
import json
import os
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from io import FileIO
from pathlib import Path
from typing import Any, Final, Self

from dagster import EventLogEntry
from dagster._serdes import deserialize_value, serialize_value
from sqlalchemy.engine import make_url

from dagster_apollo.instance.event_promises import Promises
from dagster_apollo.instance.postgres_statements import Commit
from dagster_apollo.instance.postgres_writer import Batch, StorageUnavailableError

_BATCH: Final = 500
_OWNER_ONLY: Final = 0o600


def spill_folder(home: Path, url: str) -> Path:
    """Where the events for a database wait; another database's are not mixed in.

    Args:
        home: the instance directory.
        url: the database; only its place counts, not the user's name or password.
    """
    place = make_url(url)
    name = f"{place.host}|{place.port or 5432}|{place.database}|{place.query.get('host', '')}"
    return home / "spill" / hashlib.sha256(name.encode()).hexdigest()[:16]


class Spill:
    """One such file, locked by this process."""

    def __init__(self, path: Path, file: FileIO, promises: Promises) -> None:
        self.path: Final = path
        self._file = file
        self._promises = promises

    @classmethod
    def create(cls, folder: Path, promises: Promises) -> Self:
        """A new, empty spill.

        Raises:
            OSError: it cannot be written.
        """
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = folder / f"{os.getpid()}-{secrets.token_hex(6)}.jsonl"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _OWNER_ONLY)
        file = FileIO(descriptor, "r+b")
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _sync_folder(folder)
        return cls(path, file, promises)

    @classmethod
    def adopt(cls, folder: Path, promises: Promises) -> Iterator[Self]:
        """The spills of a folder whose processes are gone, each locked while it is looked at."""
        for path in sorted(folder.glob("*.jsonl"), key=_age):
            try:
                file = FileIO(path, "r+b")
            except OSError:  # somebody else has finished it, or it is another user's
                continue
            with file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except OSError:
                    continue
                if _is_at(path, file):
                    _cut_torn_line(file)
                    yield cls(path, file, promises)

    def append(self, batches: Sequence[Batch]) -> None:
        """Add events, durably; the first batch may be in doubt where the spill is empty.

        Raises:
            OSError: they cannot be written; then none of them was added.
        """
        lines: list[dict[str, Any]] = []
        for batch in batches:
            lines += [self._line(event) for event in batch.events]
            if batch.doubt:
                ids = {
                    it: self._promises.id_of(it)
                    for it in map(self._promises.of, batch.events)
                    if it
                }
                lines.append(_note(batch.doubt, 0, len(batch.events), ids))
        self._write(lines)
        for batch in batches:
            self._promises.release(batch.events)

    def replay(
        self, write: Callable[[Batch], None], refuse: Callable[[EventLogEntry, Exception], None]
    ) -> None:
        """Write what is not known to be stored, in order.

        Args:
            write: stores a batch; whatever of StorageUnavailableError it raises is passed on.
            refuse: told of an event that the database does not take; it goes to a file of its own.
        """
        lines, start, count, doubt = self._pending()
        singly_until = 0
        while start < len(lines):
            some = lines[start : start + (1 if start < singly_until else count)]
            events = [self._event(line) for line in some]
            try:
                write(Batch(events, doubt, self._noter(start, len(some))))
            except StorageUnavailableError:
                raise
            except OSError as error:
                raise StorageUnavailableError(
                    f"{self.path} cannot be written: {error.strerror}. Make room on the disk."
                ) from error
            except Exception as error:  # noqa: BLE001 - whatever it is, the events after it count
                if len(some) > 1:
                    singly_until, doubt = start + len(some), None
                    continue
                refuse(events[0], error)
                with open(self.path.with_suffix(".refused"), "a", opener=_private) as refused:
                    refused.write(some[0]["event"] + "\n")
            start, count, doubt = start + len(some), _BATCH, None

    def remove(self) -> None:
        """Give the file up: all of it is stored."""
        self.path.unlink(missing_ok=True)
        self.close()

    def close(self) -> None:
        """Leave the file to the next process."""
        self._file.close()

    def _pending(self) -> tuple[list[dict[str, Any]], int, int, Commit | None]:
        """All events; where to begin, with how many; and the transaction that may have them."""
        events, start, count, doubt = [], 0, _BATCH, None
        for line in self._lines():
            if "event" in line:
                events.append(line)
            else:  # what lies before its start was settled when it was written
                start, count = line["start"], line["count"]
                doubt = Commit(line["xid"], line["pid"])
                self._promises.keep({int(promise): it for promise, it in line["ids"].items()})
        return events, start, count, doubt

    def _line(self, event: EventLogEntry) -> dict[str, Any]:
        line: dict[str, Any] = {"event": self._promises.kept_in(serialize_value(event))}
        promise = self._promises.of(event)
        return {**line, "promise": promise} if promise else line

    def _event(self, line: dict[str, Any]) -> EventLogEntry:
        event = deserialize_value(line["event"], EventLogEntry)
        if "promise" in line:
            self._promises.take_over(line["promise"], event)
        return event

    def _noter(self, start: int, count: int) -> Callable[[Commit, Mapping[int, int]], None]:
        return lambda commit, ids: self._write([_note(commit, start, count, ids)])

    def _lines(self) -> Iterator[dict[str, Any]]:
        self._file.seek(0)
        for line in self._file.read().splitlines():
            yield json.loads(line)

    def _write(self, lines: Iterable[dict[str, Any]]) -> None:
        end = self._file.seek(0, os.SEEK_END)
        text = memoryview(b"".join(json.dumps(line).encode() + b"\n" for line in lines))
        try:
            while text:
                text = text[self._file.write(text) or 0 :]
            os.fsync(self._file.fileno())
        except OSError:
            self._file.truncate(end)
            raise


def _note(commit: Commit, start: int, count: int, ids: Mapping[int, int]) -> dict[str, Any]:
    return {"xid": commit.xid, "pid": commit.pid, "start": start, "count": count, "ids": {**ids}}


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, _OWNER_ONLY)


def _age(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _is_at(path: Path, file: FileIO) -> bool:
    """Whether a file is still at its path, rather than removed by the process that had the lock."""
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except OSError:
        return False


def _cut_torn_line(file: FileIO) -> None:
    """Remove the end of a file whose process ended while it wrote a line."""
    text = file.read()
    file.truncate(text.rfind(b"\n") + 1)


def _sync_folder(folder: Path) -> None:
    """Make a new name in a folder durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
