"""The schema of the instance's database: which revision it is at, and how it gets to the newest.

There are two: Dagster's own tables and Apollo's. Both are kept by Alembic, each with its own
version table. A production process refuses a schema that is not exactly the one of its code; only
`apollo migrate` changes one.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import sqlalchemy
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from dagster._core.storage.sql import ALEMBIC_SCRIPTS_LOCATION
from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from dagster_apollo.errors import ApolloError
from dagster_apollo.instance.database import DatabaseUnreachableError, engine_of

VERSION_TABLE: Final = "apollo_alembic_version"
_DAGSTER_VERSION_TABLE: Final = "alembic_version"
_MIGRATIONS: Final = Path(__file__).with_name("migrations")
_LOCK: Final = 0x41504F4C4C4F0001  # "APOLLO", and a number: the key of the advisory lock

Part = Literal["Dagster", "Apollo"]
State = Literal["missing", "behind", "current", "ahead"]
Progress = Callable[[str], None]

_MENDS: Final[Mapping[State, str]] = {
    "missing": "Run `apollo migrate` with this release",
    "behind": "Run `apollo migrate` with this release",
    "ahead": (
        "Deploy the newer release again, or restore the backup that was made before it "
        "(docs/deploy.md, Roll back)"
    ),
}


class SchemaError(ApolloError):
    """The database's schema is not the one that this release works with."""


@dataclass(frozen=True)
class SchemaState:
    """How the schema of one part compares with the code.

    Args:
        part: whose tables they are.
        revision: the revision in the database; None where there is none.
        head: the newest revision that the code knows.
        state: what follows from the two.
    """

    part: Part
    revision: str | None
    head: str
    state: State

    @property
    def mend(self) -> str:
        """What to do about it; nothing where it is current."""
        return _MENDS.get(self.state, "")

    def __str__(self) -> str:
        found = f"at revision {self.revision}" if self.revision else "without any revision"
        return f"{self.part}'s schema is {self.state}: it is {found}, the code at {self.head}"


def judge(revision: str | None, head: str, known: frozenset[str]) -> State:
    """What a database's revision means for code that knows certain revisions."""
    if revision is None:
        return "missing"
    if revision == head:
        return "current"
    return "behind" if revision in known else "ahead"


def read_schema(connection: sqlalchemy.Connection) -> tuple[SchemaState, ...]:
    """The state of both schemas, in two statements."""
    states = []
    for part, location, table in (
        ("Dagster", ALEMBIC_SCRIPTS_LOCATION, _DAGSTER_VERSION_TABLE),
        ("Apollo", str(_MIGRATIONS), VERSION_TABLE),
    ):
        scripts = ScriptDirectory.from_config(_config(location))
        head = str(scripts.get_current_head())
        known = frozenset(script.revision for script in scripts.walk_revisions())
        context = MigrationContext.configure(connection, opts={"version_table": table})
        revision = context.get_current_revision()
        states.append(SchemaState(part, revision, head, judge(revision, head, known)))  # type: ignore[arg-type]
    return tuple(states)


def require_current(uri: SecretStr) -> None:
    """Make sure that the schema is the one of this release.

    Raises:
        SchemaError: it is behind or ahead.
        DatabaseUnreachableError: the database cannot be reached.
    """
    with connected(uri) as connection:
        wrong = [item for item in read_schema(connection) if item.state != "current"]
    if wrong:
        lines = [f"DAGSTER_PG_URI: {item}. {item.mend}" for item in wrong]
        raise SchemaError("\n".join(lines))


def migrate(uri: SecretStr, upgrade_dagster: Callable[[], None], progress: Progress) -> None:
    """Bring both schemas to the newest revision; nothing is done where they are at it.

    One process migrates at a time: others wait, and then find nothing to do. The lock belongs to
    a transaction, so it works through any connection pooler, and ends with its process.

    Args:
        uri: the database.
        upgrade_dagster: creates and upgrades Dagster's tables.
        progress: is told each step.

    Raises:
        SchemaError: the schema is ahead of the code.
        DatabaseUnreachableError: the database cannot be reached.
    """
    with connected(uri) as lock, lock.begin():
        if not lock.execute(
            text("select pg_try_advisory_xact_lock(:key)"), {"key": _LOCK}
        ).scalar():
            progress("another process migrates; waiting for it")
            lock.execute(text("select pg_advisory_xact_lock(:key)"), {"key": _LOCK})
        states = {item.part: item for item in read_schema(lock)}
        ahead = [item for item in states.values() if item.state == "ahead"]
        if ahead:
            raise SchemaError("\n".join(f"{item}. {item.mend}" for item in ahead))
        for part, upgrade in (
            ("Dagster", upgrade_dagster),
            ("Apollo", lambda: _upgrade_apollo(uri)),
        ):
            item = states[part]  # type: ignore[index]
            if item.state == "current":
                progress(f"{part}'s schema is at {item.head}: nothing to do")
            else:
                progress(f"{part}'s schema: {item.revision or 'nothing'} -> {item.head}")
                upgrade()


@contextmanager
def connected(uri: SecretStr) -> Iterator[sqlalchemy.Connection]:
    """A connection of its own, for the length of a `with` block.

    Raises:
        DatabaseUnreachableError: the database cannot be reached.
    """
    engine = engine_of(uri)
    try:
        try:
            connection = engine.connect()
        except SQLAlchemyError as error:
            raise DatabaseUnreachableError(error) from None
        with connection:
            yield connection
    finally:
        engine.dispose()


def _upgrade_apollo(uri: SecretStr) -> None:
    config = _config(str(_MIGRATIONS))
    with connected(uri) as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def _config(location: str) -> Config:
    config = Config()
    config.set_main_option("script_location", location.replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config
