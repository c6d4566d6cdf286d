"""Apollo's own tables, which lie beside Dagster's in the instance's Postgres database."""

from collections.abc import Mapping
from typing import Final

import sqlalchemy
from pydantic import SecretStr
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    func,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.engine import make_url

from dagster_apollo.errors import ApolloError

METADATA: Final = MetaData()

# Dagster's own table, known here by its name alone, so that rows can go with their run.
Table("runs", METADATA, Column("run_id", Text, unique=True), info={"owner": "dagster"})

# Log keys sort by bytes (collation C): only then does LIKE 'prefix%' use the primary key.
COMPUTE_LOG: Final = Table(
    "apollo_compute_log",
    METADATA,
    Column("log_key", Text(collation="C"), primary_key=True),
    Column("stream", Text, primary_key=True),
    Column("run_id", Text, ForeignKey("runs.run_id", ondelete="CASCADE")),
    Column("length", BigInteger, nullable=False, server_default="0"),
    Column("complete", Boolean, nullable=False, server_default="false"),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("updated_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Index("apollo_compute_log_run_id", "run_id"),
)
"""One captured stream (stdout or stderr); `length` counts all bytes written, kept or not."""

COMPUTE_LOG_CHUNK: Final = Table(
    "apollo_compute_log_chunk",
    METADATA,
    Column("log_key", Text(collation="C"), primary_key=True),
    Column("stream", Text, primary_key=True),
    Column("position", BigInteger, primary_key=True),
    Column("data", LargeBinary, nullable=False),
    ForeignKeyConstraint(
        ["log_key", "stream"],
        ["apollo_compute_log.log_key", "apollo_compute_log.stream"],
        ondelete="CASCADE",
    ),
)
"""A part of a stream; `position` is that of its first byte in the whole stream."""

SERVICE: Final = Table(
    "apollo_service",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("service", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("release", Text, nullable=False),
    Column("dagster_home", Text, nullable=False),
    Column("host", Text, nullable=False),
    Column("started_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("heartbeat_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("stopped_at", DateTime(timezone=True)),
)
"""A production process that runs, or ran."""

RUN_WORKER: Final = Table(
    "apollo_run_worker",
    METADATA,
    Column("run_id", Text, ForeignKey("runs.run_id", ondelete="CASCADE"), primary_key=True),
    Column("worker", Text),
    Column("server", Text),
    Column("host", Text),
    Column("pid", Integer),
    Column("beat_seconds", Integer),
    Column("lease_seconds", Integer),
    Column("started_at", DateTime(timezone=True)),
    Column("heartbeat_at", DateTime(timezone=True)),
    Column("ended_at", DateTime(timezone=True)),
    Column("lost_at", DateTime(timezone=True)),
    Column("cause", Text),
    Column("requested_at", DateTime(timezone=True)),
    Column("settled_at", DateTime(timezone=True)),
    Column("verdict", Text),
    Column("resumed_by", Text),
)
"""Who executes a run, or did; and, where the platform ended it, why and what became of that.

`worker` is one process; a row without it stands for a run that none has executed. With `lost_at`
no process may execute the run any more. `settled_at` is when it was decided whether it is resumed.
"""

AUDIT: Final = Table(
    "apollo_audit",
    METADATA,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("actor", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("method", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("target", Text),
    Column("allowed", Boolean, nullable=False),
    Column("remote", Text),
    Column("detail", JSONB),
    Index("apollo_audit_at", "at"),
)
"""Who did, or tried to do, what."""

API_TOKEN: Final = Table(
    "apollo_api_token",
    METADATA,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("digest", Text, nullable=False, unique=True),
    Column("role", Text, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("created_by", Text, nullable=False),
    Column("expires_at", DateTime(timezone=True)),
    Column("last_used_at", DateTime(timezone=True)),
    Column("revoked_at", DateTime(timezone=True)),
)
"""A bearer token for scripts, by its digest."""

REVOKED_SESSION: Final = Table(
    "apollo_revoked_session",
    METADATA,
    Column("session_id", Text, primary_key=True),
    Column("expires_at", DateTime(timezone=True), nullable=False),
)
"""A session whose user signed out before it ended by itself."""

PRUNED_RUN: Final = Table(
    "apollo_pruned_run",
    METADATA,
    Column("run_id", Text, primary_key=True),
    Column("pruned_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
)
"""A run that retention has removed; its events and logs are to follow."""

UNUSED_SNAPSHOT: Final = Table(
    "apollo_unused_snapshot",
    METADATA,
    Column("snapshot_id", Text, primary_key=True),
    Column("marked_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
)
"""A snapshot of a job or a plan that no run used when retention looked."""


_CONNECT_ARGUMENTS: Final[Mapping[str, str | int]] = {
    "application_name": "apollo",
    "connect_timeout": 10,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}
"""A host that has vanished is noticed after half a minute, not after the kernel's hours."""


def connect_arguments(uri: str) -> dict[str, str | int]:
    """Libpq's parameters for a connection of Apollo's; what the URI says itself counts."""
    given = make_url(uri).query
    return {name: value for name, value in _CONNECT_ARGUMENTS.items() if name not in given}


class DatabaseUnreachableError(ApolloError):
    """The database of DAGSTER_PG_URI does not let this process in, or does not answer.

    Args:
        cause: what the driver said. Only its kind is shown: its own text may quote the URI.
    """

    def __init__(self, cause: Exception) -> None:
        super().__init__(
            f"DAGSTER_PG_URI: the database cannot be reached ({type(cause).__name__}). Check "
            "host, port, user, password and database in it, and that the server is up."
        )


def engine_of(
    uri: SecretStr,
    *,
    pool_size: int = 1,
    pool_seconds: float = 30,
    statement_seconds: int | None = None,
) -> sqlalchemy.Engine:
    """An engine with a small pool of its own.

    Args:
        uri: the database, as `normalise_postgres_uri` spells it.
        pool_size: the most connections that are open at one time.
        pool_seconds: how long to wait for one of them.
        statement_seconds: how long the server may take for a statement; None: as it is set there.
    """
    url = uri.get_secret_value()
    arguments = connect_arguments(url)
    if statement_seconds is not None:
        given = make_url(url).query.get("options", "")
        arguments["options"] = f"{given} -c statement_timeout={statement_seconds}s".strip()
    return sqlalchemy.create_engine(
        url,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=pool_seconds,
        pool_pre_ping=True,
        hide_parameters=True,
        connect_args=arguments,
    )
