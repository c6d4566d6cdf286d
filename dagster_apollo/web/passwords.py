"""Users who sign in by password: their entries, and whether a password is right."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

import argon2
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from pydantic import SecretStr

from dagster_apollo.errors import ApolloError
from dagster_apollo.web.roles import Role

ADMIN_USER: Final = "admin"
LONGEST_PASSWORD: Final = 1024
NAME_PATTERN: Final = re.compile(r"[a-z0-9][a-z0-9._@-]{0,62}")
_HASHER: Final = PasswordHasher()
_MOST_KIBIBYTES: Final = 1024 * 1024


@dataclass(frozen=True)
class UserEntry:
    """A user who signs in by password.

    Args:
        name: the name, in lower case.
        role: what the user may do.
        password_hash: the password's argon2id hash.
        credential: changes when the password does, and so ends the user's sessions.
    """

    name: str
    role: Role
    password_hash: str = field(repr=False)
    credential: str = field(repr=False)

    def __str__(self) -> str:
        return f"{self.name}:{self.role}:{self.password_hash}"


def parse_users(text: str) -> tuple[list[UserEntry], list[str]]:
    """Read NAME:ROLE:HASH entries, separated by blanks or line breaks.

    Returns:
        The entries, and what is wrong; an entry is spoken of by its number alone.
    """
    entries: list[UserEntry] = []
    faults: list[str] = []
    for number, item in enumerate(text.split(), start=1):
        try:
            entry = _parse_entry(item)
        except ValueError as error:
            faults.append(f"entry {number} {error}")
            continue
        if entry.name in {other.name for other in entries}:
            faults.append(f"entry {number} names a user for the second time")
        entries.append(entry)
    return entries, faults


def _parse_entry(item: str) -> UserEntry:
    name, _, rest = item.partition(":")
    role, _, password_hash = rest.partition(":")
    if not password_hash:
        raise ValueError("is not NAME:ROLE:HASH")
    if not NAME_PATTERN.fullmatch(name):
        raise ValueError("does not begin with a user name (lower case, digits, . _ @ -)")
    try:
        parameters = argon2.extract_parameters(password_hash)
    except InvalidHashError:
        raise ValueError("does not end with an argon2 hash") from None
    if parameters.type is not argon2.Type.ID or parameters.memory_cost > _MOST_KIBIBYTES:
        raise ValueError("does not end with an argon2id hash of common cost")
    return UserEntry(name, Role.parse(role), password_hash, password_hash)


def make_entry(name: str, role: Role, password: str) -> UserEntry:
    """Make an entry of APOLLO_USERS.

    Raises:
        ApolloError: the name is not one that a user can have.
    """
    if not NAME_PATTERN.fullmatch(name):
        raise ApolloError(
            "The user name is not valid. Use lower-case letters, digits and . _ @ - (at most 63), "
            "beginning with a letter or a digit."
        )
    password_hash = _HASHER.hash(password)
    return UserEntry(name, role, password_hash, password_hash)


def admin_entry(password: SecretStr) -> UserEntry:
    """The user that APOLLO_ADMIN_PASSWORD makes."""
    value = password.get_secret_value()
    return UserEntry(ADMIN_USER, Role.ADMIN, _HASHER.hash(value), value)


class Passwords:
    """Checks passwords, with the same work for a user who does not exist."""

    def __init__(self, users: Mapping[str, UserEntry]) -> None:
        self._users = users
        self._nobody = _HASHER.hash("a password that nobody has")

    def find(self, name: str) -> UserEntry | None:
        """The user of a name, as it was typed."""
        return self._users.get(name.strip().lower())

    def check(self, name: str, password: str) -> UserEntry | None:
        """The user, if the password is theirs; this takes a moment of CPU and 64 MiB."""
        entry = self.find(name)
        right = _is_right(entry.password_hash if entry else self._nobody, password)
        return entry if right else None

    def __iter__(self) -> Iterator[UserEntry]:
        return iter(self._users.values())


def _is_right(password_hash: str, password: str) -> bool:
    if len(password) > LONGEST_PASSWORD:
        return False
    try:
        return _HASHER.verify(password_hash, password)
    except (VerificationError, UnicodeEncodeError):
        return False
