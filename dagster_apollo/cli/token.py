"""`apollo token`."""

import contextlib
import getpass
import json
from collections.abc import Iterator
from dataclasses import asdict

import sqlalchemy
from rich.console import Console
from rich.table import Table
from sqlalchemy.exc import SQLAlchemyError

from dagster_apollo.contract import MENDS
from dagster_apollo.errors import ApolloError, ConfigurationError, Problem
from dagster_apollo.instance.database import engine_of
from dagster_apollo.settings import load_process
from dagster_apollo.web.audit import Audit
from dagster_apollo.web.grants import Grant
from dagster_apollo.web.identity import Identity
from dagster_apollo.web.roles import Role
from dagster_apollo.web.tokens import Tokens


def create(name: str, *, role: str, days: int | None, tenants: str | None = None) -> None:
    """Make a token and print it, this once.

    Raises:
        ApolloError: the name, the role or the database is not usable.
    """
    try:
        grant = Grant.of(role, tenants)
    except ValueError as error:
        raise ApolloError(f"--role {error} (see --tenants, too).") from None
    operator = _operator()
    with _database() as engine, _recorded(engine, operator, "create token", name):
        token = Tokens(engine).create(name, grant, created_by=operator.name, days=days)
    print(token)  # noqa: T201
    Console(stderr=True, highlight=False).print("  It is not shown again.")


def show(*, as_json: bool) -> None:
    """List the tokens.

    Raises:
        ApolloError: the database cannot be used.
    """
    with _database() as engine:
        records = Tokens(engine).list()
    if as_json:
        print(json.dumps([asdict(record) for record in records], indent=2, default=str))  # noqa: T201
        return
    table = Table("name", "role", "made by", "last used", "valid until", "valid")
    for record in records:
        table.add_row(
            record.name,
            record.role,
            record.created_by,
            f"{record.last_used_at:%Y-%m-%d %H:%M}" if record.last_used_at else "never",
            f"{record.expires_at:%Y-%m-%d}" if record.expires_at else "it is revoked",
            "yes" if record.is_valid else "revoked" if record.revoked_at else "expired",
        )
    Console().print(table)


def revoke(name: str) -> None:
    """Make a token worthless.

    Raises:
        ApolloError: there is no such token, or the database cannot be used.
    """
    with _database() as engine, _recorded(engine, _operator(), "revoke token", name):
        Tokens(engine).revoke(name)


def _operator() -> Identity:
    """Who works at the command line, which takes the database's password."""
    return Identity(f"cli:{getpass.getuser()}", Grant(Role.ADMIN), "local")


def _recorded(
    engine: sqlalchemy.Engine, operator: Identity, action: str, name: str
) -> contextlib.AbstractContextManager[None]:
    return Audit(engine).recorded(action, by=operator, remote=None, target=name)


@contextlib.contextmanager
def _database() -> Iterator[sqlalchemy.Engine]:
    uri = load_process().dagster_pg_uri
    if uri is None:
        mend = MENDS["DAGSTER_PG_URI"].removesuffix(", or unset it")
        raise ConfigurationError(
            [Problem("DAGSTER_PG_URI", "is not set, and tokens are kept in the database", mend)]
        )
    engine = engine_of(uri)
    try:
        yield engine
    except SQLAlchemyError as error:  # its text may hold the URI
        raise ApolloError(
            f"DAGSTER_PG_URI: the database cannot be used ({type(error).__name__}). Check that the "
            "server is up, and run `apollo migrate`."
        ) from None
    finally:
        engine.dispose()
