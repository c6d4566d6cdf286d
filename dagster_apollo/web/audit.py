"""The audit log: who did, or tried to do, what."""

import ipaddress
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import sqlalchemy
from sqlalchemy import insert, select, update
from sqlalchemy.exc import SQLAlchemyError

from dagster_apollo.errors import ApolloError
from dagster_apollo.instance.database import AUDIT
from dagster_apollo.web.identity import UNKNOWN, Identity

ENTRY: Final = "apollo.audit"
"""Where the scope of a request that was recorded has the number of its entry."""
_LONGEST: Final = 500
_log = logging.getLogger("apollo.audit")


@dataclass(frozen=True)
class AuditRecord:
    """An entry of the audit log.

    Args:
        id: its number.
        at: when.
        actor: who.
        role: their role, and the tenants that it is limited to.
        method: how they were recognised.
        action: what: `sign-in`, the name of a mutation, a method and path, …
        target: to what: runs, a backfill, a token.
        allowed: whether they were let.
        remote: the address of their client.
        detail: what else is known.
    """

    id: int
    at: datetime
    actor: str
    role: str
    method: str
    action: str
    target: str | None
    allowed: bool
    remote: str | None
    detail: Mapping[str, Any] | None


class AuditError(ApolloError):
    """Something cannot be recorded, and is therefore not done."""

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"Nothing was done, because the audit log cannot be written ({reason}). Try again soon."
        )


class Audit:
    """Writes the audit log, to the database and to the process's log."""

    def __init__(self, engine: sqlalchemy.Engine) -> None:
        self._engine = engine

    def record(
        self,
        action: str,
        *,
        by: Identity | None,
        allowed: bool,
        remote: str | None,
        target: str | None = None,
        detail: Mapping[str, Any] | None = None,
    ) -> int:
        """Add an entry; what cannot be recorded must not be done.

        Args:
            action: what was tried.
            by: who tried; None: somebody who was not recognised.
            allowed: whether they were let.
            remote: the address of their client.
            target: to what.
            detail: what else is known; never a secret.

        Returns:
            The entry's number.

        Raises:
            AuditError: it cannot be recorded.
        """
        values = {
            "actor": _plain(by.name) if by else UNKNOWN,
            "role": str(by.grant) if by else "none",
            "method": by.method if by else "none",
            "action": _plain(action),
            "target": target and _plain(target),
            "allowed": allowed,
            "remote": _address(remote),
            "detail": _readable(detail) if detail else None,
        }
        try:
            with self._engine.begin() as connection:
                row = connection.execute(insert(AUDIT).values(values).returning(AUDIT.c.id)).one()
        except SQLAlchemyError as error:  # its text may hold the URI
            raise AuditError(type(error).__name__) from None
        _log.info(
            "%s (%s) %s: %s%s from %s",
            values["actor"],
            values["role"],
            "did" if allowed else "was refused",
            values["action"],
            f" {values['target']}" if target else "",
            values["remote"],
        )
        return int(row[0])

    @contextmanager
    def recorded(
        self,
        action: str,
        *,
        by: Identity,
        remote: str | None,
        target: str,
        detail: Mapping[str, Any] | None = None,
    ) -> Iterator[None]:
        """Record what is done in the block, before it is done; and if it fails, that it failed.

        Raises:
            AuditError: it cannot be recorded.
        """
        number = self.record(
            action, by=by, allowed=True, remote=remote, target=target, detail=detail
        )
        try:
            yield
        except Exception as error:
            self.complete(number, None, {**(detail or {}), "failed": type(error).__name__})
            raise

    def complete(self, number: int, target: str | None, detail: Mapping[str, Any] | None) -> None:
        """Add to an entry what came of it; that it was done is recorded already."""
        values: dict[str, Any] = {"detail": _readable(detail)} if detail else {}
        if target:
            values["target"] = _plain(target)
        if values:
            try:
                with self._engine.begin() as connection:
                    connection.execute(update(AUDIT).where(AUDIT.c.id == number).values(values))
            except SQLAlchemyError as error:
                _log.warning("Entry %d stays as it is (%s)", number, type(error).__name__)

    def newest(self, limit: int, before: int | None = None) -> list[AuditRecord]:
        """The newest entries, or the newest of those before an entry."""
        columns = [AUDIT.c[name] for name in AuditRecord.__dataclass_fields__]
        query = select(*columns).order_by(AUDIT.c.id.desc()).limit(limit)
        if before is not None:
            query = query.where(AUDIT.c.id < before)
        with self._engine.connect() as connection:
            return [AuditRecord(**row) for row in connection.execute(query).mappings()]


def _address(remote: str | None) -> str | None:
    """The address of a client; a proxy that is believed may hand on something else."""
    if remote is None:
        return None
    try:
        ipaddress.ip_address(remote)
    except ValueError:
        return "unknown"
    return remote


def _readable(detail: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: _plain(value) if isinstance(value, str) else value for name, value in detail.items()
    }


def _plain(text: str) -> str:
    """A text from a client, on one line of reasonable length."""
    text = "".join(character if character.isprintable() else "?" for character in text)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
