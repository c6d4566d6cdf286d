"""Bearer tokens for scripts: made once, kept as digests, and revocable."""

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import sqlalchemy
from sqlalchemy import func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from dagster_apollo.errors import ApolloError
from dagster_apollo.instance.database import API_TOKEN
from dagster_apollo.web.grants import Grant
from dagster_apollo.web.identity import Identity
from dagster_apollo.web.passwords import NAME_PATTERN

PREFIX: Final = "apollo_"
"""What a token begins with, so that scanners of source code can know one."""
_ACTOR: Final = "token:"
"""What a token is called as somebody who acts: no user's name can begin so."""
_LONGEST: Final = 200
_USE_NOTED_EVERY: Final = timedelta(minutes=1)


class TokenError(ApolloError):
    """A token cannot be made or revoked."""


@dataclass(frozen=True)
class TokenRecord:
    """A token, without its secret.

    Args:
        name: what it is called, for ever.
        role: what it may do: its grant.
        created_at: when it was made.
        created_by: who made it.
        expires_at: when it ends by itself; None: never.
        last_used_at: when it was last used, to the minute.
        revoked_at: when it was revoked.
        is_valid: whether it is let in now.
    """

    name: str
    role: str
    created_at: datetime
    created_by: str
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None
    is_valid: bool


_IS_VALID: Final = sqlalchemy.and_(
    API_TOKEN.c.revoked_at.is_(None),
    or_(API_TOKEN.c.expires_at.is_(None), API_TOKEN.c.expires_at > func.now()),
)


class Tokens:
    """The tokens in the database."""

    def __init__(self, engine: sqlalchemy.Engine) -> None:
        self._engine = engine

    def create(self, name: str, grant: Grant, *, created_by: str, days: int | None = None) -> str:
        """Make a token.

        Args:
            name: what to call it.
            grant: what it may do.
            created_by: who makes it.
            days: for how long it is valid; None: until it is revoked.

        Returns:
            The token: it can be seen this once.

        Raises:
            TokenError: the name is taken, or not one that a token can have.
        """
        if not NAME_PATTERN.fullmatch(name):
            raise TokenError(
                "The token's name is not valid. Use lower-case letters, digits and . _ @ - (at "
                "most 63), beginning with a letter or a digit."
            )
        token = f"{PREFIX}{secrets.token_urlsafe(32)}"
        values = {
            "name": name,
            "digest": _digest(token),
            "role": str(grant),
            "created_by": created_by,
            "expires_at": func.now() + timedelta(days=days) if days else None,
        }
        try:
            with self._engine.begin() as connection:
                connection.execute(insert(API_TOKEN).values(values))
        except IntegrityError:
            raise TokenError(
                f"There is, or was, a token named {name}. Choose another name: the audit log "
                "speaks of tokens by theirs."
            ) from None
        return token

    def list(self) -> list[TokenRecord]:
        """All tokens, the newest first; revoked ones are kept."""
        columns = [API_TOKEN.c[name] for name in list(TokenRecord.__dataclass_fields__)[:-1]]
        with self._engine.connect() as connection:
            rows = connection.execute(
                select(*columns, _IS_VALID.label("is_valid")).order_by(API_TOKEN.c.id.desc())
            ).mappings()
            return [TokenRecord(**row) for row in rows]

    def revoke(self, name: str) -> None:
        """Make a token worthless, from its next request on.

        Raises:
            TokenError: there is no such token, or it was revoked before.
        """
        revoked = 0
        if NAME_PATTERN.fullmatch(name):
            with self._engine.begin() as connection:
                revoked = connection.execute(
                    update(API_TOKEN)
                    .where(API_TOKEN.c.name == name, API_TOKEN.c.revoked_at.is_(None))
                    .values(revoked_at=func.now())
                ).rowcount
        if not revoked:
            raise TokenError(
                "There is no such token that is not revoked yet. `apollo token list` shows them."
            )

    def identify(self, token: str) -> Identity | None:
        """Whose request a token makes; notes its use."""
        if not token.startswith(PREFIX) or len(token) > _LONGEST:
            return None
        known = API_TOKEN.c.digest == _digest(token)
        stale = or_(
            API_TOKEN.c.last_used_at.is_(None),
            API_TOKEN.c.last_used_at < func.now() - _USE_NOTED_EVERY,
        )
        with self._engine.begin() as connection:
            row = connection.execute(
                select(API_TOKEN.c.name, API_TOKEN.c.role, stale).where(known, _IS_VALID)
            ).first()
            if row is None:
                return None
            if row[2]:
                connection.execute(update(API_TOKEN).where(known).values(last_used_at=func.now()))
        return Identity(f"{_ACTOR}{row[0]}", Grant.parse(row[1]), "token")


def _digest(token: str) -> str:
    """A plain hash is enough: a token is 256 random bits, which nobody tries out."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()
