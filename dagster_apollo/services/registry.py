"""Which production processes run, and whether they belong together.

Each process has a row of its own, with a heartbeat. Two things must be the same for all of them:
DAGSTER_HOME, because paths below it travel from one process to another, and the release. Both may
differ from those of a process that a deploy is about to replace; when a difference lasts for longer
than a deploy takes, one service was left behind. Processes that started within one deploy's time
replace nothing of each other's, so their DAGSTER_HOME is compared at once.
"""

import contextlib
import logging
import socket
import threading
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal

import sqlalchemy
from sqlalchemy import func, insert, select, update
from sqlalchemy.exc import SQLAlchemyError

from dagster_apollo.errors import ConfigurationError, Problem
from dagster_apollo.instance.database import SERVICE, engine_of
from dagster_apollo.services.contract import ServiceSettings

ServiceKind = Literal["webserver", "daemon", "code-server"]

HEARTBEAT_SECONDS: Final = 15
LOST_AFTER: Final = timedelta(seconds=4 * HEARTBEAT_SECONDS)
"""Without a heartbeat for this long, a process is taken not to run any more."""
_KEPT: Final = timedelta(days=30)
_log = logging.getLogger("apollo.services")


@dataclass(frozen=True)
class ServiceRecord:
    """A production process, as it registered itself.

    Args:
        id: the process; unique.
        service: what it is.
        name: which of its kind: the code location of a code server, else the kind itself.
        release: the release that it runs.
        dagster_home: its instance directory.
        started_at: when it registered, by the database's clock.
        heartbeat_at: when it was last heard of.
        stopped_at: when it took its leave; None if it did not.
    """

    id: str
    service: str
    name: str
    release: str
    dagster_home: str
    started_at: datetime
    heartbeat_at: datetime
    stopped_at: datetime | None = None

    @property
    def key(self) -> tuple[str, str]:
        """What it is an instance of."""
        return self.service, self.name

    @property
    def label(self) -> str:
        """What it is, in words."""
        return self.service if self.name == self.service else f"code server of {self.name}"

    def is_live(self, now: datetime) -> bool:
        """Whether it runs, as far as can be known."""
        return self.stopped_at is None and now - self.heartbeat_at < LOST_AFTER


def disagreements(
    own: ServiceRecord, records: Sequence[ServiceRecord], now: datetime, deploy_seconds: int
) -> tuple[Problem, ...]:
    """What keeps a process from working with the others that run.

    Args:
        own: the process that asks.
        records: all that registered, itself included.
        now: the time by the database's clock.
        deploy_seconds: how long releases may differ.
    """
    problems = []
    allowed = timedelta(seconds=deploy_seconds)
    for other in _newest_live(own, records, now):
        if other.dagster_home != own.dagster_home and (
            now - other.started_at < allowed or _lasted(own, other, records, now) > allowed
        ):
            problems.append(
                Problem(
                    "DAGSTER_HOME",
                    f"is {own.dagster_home} here and {other.dagster_home} at the {other.label}",
                    "Set it to one path for all services",
                )
            )
        lasted = _lasted(own, other, records, now)
        if other.release != own.release and lasted > allowed:
            problems.append(
                Problem(
                    "APOLLO_RELEASE",
                    f"is {own.release} here and has been {other.release} at the {other.label} for "
                    f"{int(lasted.total_seconds())} s, longer than a deploy takes",
                    f"Deploy one release to both: see why the {other.label} or this service was "
                    "left behind (APOLLO_DEPLOY_SECONDS says how long a deploy may take)",
                )
            )
    return tuple(problems)


def _newest_live(
    own: ServiceRecord, records: Sequence[ServiceRecord], now: datetime
) -> list[ServiceRecord]:
    """Of every other service, the instance that started last, if it runs."""
    newest: dict[tuple[str, str], ServiceRecord] = {}
    for record in sorted(records, key=lambda item: item.started_at):
        if record.key != own.key and record.is_live(now):
            newest[record.key] = record
    return list(newest.values())


def _lasted(
    own: ServiceRecord, other: ServiceRecord, records: Sequence[ServiceRecord], now: datetime
) -> timedelta:
    """For how long two services have been as they are now."""
    return now - max(_began(own, records), _began(other, records))


def _began(record: ServiceRecord, records: Sequence[ServiceRecord]) -> datetime:
    """Since when a service's instances have had the release and the home that it has now."""
    began = record.started_at
    earlier = [
        item for item in records if item.key == record.key and item.started_at <= record.started_at
    ]
    for item in sorted(earlier, key=lambda item: item.started_at, reverse=True):
        if (item.release, item.dagster_home) != (record.release, record.dagster_home):
            break
        began = item.started_at
    return began


class Registration:
    """This process's row, kept alive by a thread of its own until it is closed."""

    def __init__(self, settings: ServiceSettings, service: ServiceKind, name: str) -> None:
        self._settings = settings
        self._engine = engine_of(settings.dagster_pg_uri)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="apollo-heartbeat", daemon=True)
        self._row: dict[str, object] = {
            "id": uuid.uuid4().hex,
            "service": service,
            "name": name,
            "release": settings.release,
            "dagster_home": str(settings.dagster_home),
            "host": socket.gethostname(),
        }
        self.problems: tuple[Problem, ...] = ()
        """What was wrong with the other services when they were last looked at."""

    @property
    def id(self) -> str:
        """The process's own id."""
        return str(self._row["id"])

    def open(self) -> None:
        """Register, and make sure that the process belongs to the others.

        Raises:
            ConfigurationError: another service has another DAGSTER_HOME, or has had another
                release for longer than a deploy takes.
        """
        with self._engine.begin() as connection:
            connection.execute(SERVICE.delete().where(SERVICE.c.heartbeat_at < func.now() - _KEPT))
            started = insert(SERVICE).values(self._row).returning(SERVICE.c.started_at)
            self._row["started_at"] = connection.execute(started).scalar_one()
        self.problems = self._look()
        if self.problems:
            self.close()
            raise ConfigurationError(self.problems)
        self._thread.start()

    def close(self) -> None:
        """Take leave."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=HEARTBEAT_SECONDS)
        with contextlib.suppress(SQLAlchemyError):
            self._update(stopped_at=func.now())
        self._engine.dispose()

    def _beat(self) -> None:
        was_lost = False
        while not self._stop.wait(HEARTBEAT_SECONDS):
            try:
                self._update(heartbeat_at=func.now())
                found = self._look()
            except SQLAlchemyError as error:  # its text may hold the URI
                if not was_lost:
                    _log.warning("The database cannot be reached (%s)", type(error).__name__)
                was_lost = True
                continue
            if was_lost:
                _log.warning("The database can be reached again")
            was_lost = False
            if {item.variable for item in found} != {item.variable for item in self.problems}:
                for problem in found:
                    _log.error("%s", problem)
            self.problems = found

    def _update(self, **values: object) -> None:
        with self._engine.begin() as connection:
            known = connection.execute(
                update(SERVICE).where(SERVICE.c.id == self._row["id"]).values(**values)
            )
            if not known.rowcount:  # removed by hand, or by a restored backup
                connection.execute(insert(SERVICE).values({**self._row, **values}))
                _log.warning("This service's row had gone from the database; it is there again")

    def _look(self) -> tuple[Problem, ...]:
        with self._engine.connect() as connection:
            now, records = _read(connection)
        own = next(record for record in records if record.id == self._row["id"])
        return disagreements(own, records, now, self._settings.deploy_seconds)


def _read(connection: sqlalchemy.Connection) -> tuple[datetime, list[ServiceRecord]]:
    columns = [SERVICE.c[name] for name in ServiceRecord.__dataclass_fields__]
    rows = connection.execute(select(func.now().label("now"), *columns)).all()
    records = [ServiceRecord(*row[1:]) for row in rows]
    return (rows[0][0] if rows else datetime.now().astimezone()), records


@contextlib.contextmanager
def registered(
    settings: ServiceSettings, service: ServiceKind, name: str | None = None
) -> Iterator[Registration]:
    """Be registered as a service for the length of a `with` block.

    Args:
        settings: the service's settings.
        service: what it is.
        name: which of its kind; by default the kind itself.

    Raises:
        ConfigurationError: it does not belong to the services that run.
    """
    registration = Registration(settings, service, name or service)
    registration.open()
    try:
        yield registration
    finally:
        registration.close()
