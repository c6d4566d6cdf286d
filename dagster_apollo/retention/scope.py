"""What this process can prune: its instance, the database behind it, its own directory."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from dagster import DagsterInstance
from sqlalchemy.exc import SQLAlchemyError

from dagster_apollo.errors import ApolloError
from dagster_apollo.instance.database import DatabaseUnreachableError, engine_of
from dagster_apollo.retention.contract import Policy
from dagster_apollo.retention.prune import RetentionError, Scope
from dagster_apollo.settings import load_process, tenants_directory
from dagster_apollo.tenants import find_tenants

_CONNECTIONS: Final = 4  # what reads, what writes, the lock, and one to spare
_STATEMENT_SECONDS: Final = 60


@contextmanager
def open_scope(instance: DagsterInstance, policy: Policy) -> Iterator[Scope]:
    """The scope of this process, for the length of a `with` block.

    Raises:
        RetentionError: the database ended a statement or a connection.
        ApolloError: the environment is wrong.
    """
    process = load_process()
    uri = process.dagster_pg_uri
    engine = None
    if uri is not None:
        engine = engine_of(uri, pool_size=_CONNECTIONS, statement_seconds=_STATEMENT_SECONDS)
    try:
        if engine is not None:
            try:
                engine.connect().close()
            except SQLAlchemyError as error:
                raise DatabaseUnreachableError(error) from None
        yield Scope(instance, engine, process.dagster_home, _tenants(), policy)
    except SQLAlchemyError as error:  # its text may hold the URI
        kind = type(getattr(error, "orig", None) or error).__name__
        raise RetentionError(
            f"The database did not let a prune go on ({kind}). What is done is done; the next one "
            "goes on from there. If it says so often, see the server's log for what it waits for."
        ) from None
    finally:
        if engine is not None:
            engine.dispose()


def _tenants() -> frozenset[str]:
    """The identifiers of all tenants; none where they cannot be read."""
    try:
        found = find_tenants(tenants_directory(load_process()))
    except ApolloError:
        return frozenset()
    return frozenset(tenant.identifier for tenant in found)
