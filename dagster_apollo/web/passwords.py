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
from dagster_apollo.web.grants import Grant
from dagster_apollo.web.roles import Role

ADMIN_USER: Final = "admin"
LONGEST_PASSWORD: Final = 1024
NAME_PATTERN: Final = re.compile(r"[a-z0-9][a-z0-9._@-]{0,62}")
_HASHER: Final = PasswordHasher()
_MOST_KIBIBYTES: Final = 128 * 1024
_MOST_ROUNDS: Final = 10
_LEAST_KIBIBYTES_A_LANE: Final = 8
_LEAST_SALT: Final = 8
_LEAST_HASH: Final = 4


@dataclass(frozen=True)
class UserEntry:
    """A user who signs in by password.

    Args:
        name: the name, in lower case.
        grant: what the user may do.
        password_hash: the password's argon2id hash.
        credential: changes when the password does, and so ends the user's sessions.
    """

    name: str
    grant: Grant
    password_hash: str = field(repr=False)
    credential: str = field(repr=False)

    @property
    def role(self) -> Role:
        """What the user may do."""
        return self.grant.role

    def __str__(self) -> str:
        return f"{self.name}:{self.grant}:{self.password_hash}"


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
    grant, _, password_hash = rest.partition(":")
    if not password_hash:
        raise ValueError("is not NAME:ROLE:HASH")
    if not NAME_PATTERN.fullmatch(name):
        raise ValueError("does not begin with a user name (lower case, digits, . _ @ -)")
    try:
        parameters = argon2.extract_parameters(password_hash)
    except InvalidHashError:
        raise ValueError("does not end with an argon2 hash") from None
    if parameters.type is not argon2.Type.ID:
        raise ValueError("does not end with an argon2id hash")
    if not _is_possible(parameters):
        raise ValueError("has a hash whose parameters argon2 does not allow")
    if parameters.memory_cost > _MOST_KIBIBYTES or parameters.time_cost > _MOST_ROUNDS:
        raise ValueError("has a hash that takes more than 128 MiB (m) or 10 rounds (t) to check")
    return UserEntry(name, Grant.parse(grant), password_hash, password_hash)


def _is_possible(parameters: argon2.Parameters) -> bool:
    """Whether a hash can have been made so; argon2 itself says it only when it makes one."""
    return (
        parameters.time_cost >= 1
        and parameters.parallelism >= 1
        and parameters.memory_cost >= _LEAST_KIBIBYTES_A_LANE * parameters.parallelism
        and parameters.salt_len >= _LEAST_SALT
        and parameters.hash_len >= _LEAST_HASH
    )


def make_entry(name: str, grant: Grant, password: str) -> UserEntry:
    """Make an entry of APOLLO_USERS.

    Raises:
        ApolloError: the name is not one that a user can have, or the password is too long.
    """
    if len(password) > LONGEST_PASSWORD:
        raise ApolloError(
            f"The password is too long to sign in with. Choose at most {LONGEST_PASSWORD} "
            "characters."
        )
    if not NAME_PATTERN.fullmatch(name):
        raise ApolloError(
            "The user name is not valid. Use lower-case letters, digits and . _ @ - (at most 63), "
            "beginning with a letter or a digit."
        )
    password_hash = _HASHER.hash(password)
    return UserEntry(name, grant, password_hash, password_hash)


def admin_entry(password: SecretStr) -> UserEntry:
    """The user that APOLLO_ADMIN_PASSWORD makes."""
    value = password.get_secret_value()
    return UserEntry(ADMIN_USER, Grant(Role.ADMIN), _HASHER.hash(value), value)


class Passwords:
    """Checks passwords, with no less work for a user who does not exist than for any other."""

    def __init__(self, users: Mapping[str, UserEntry]) -> None:
        self._users = users
        costliest = max((_parameters(entry) for entry in self), key=_cost, default=None)
        hasher = PasswordHasher.from_parameters(costliest) if costliest else _HASHER
        self._nobody = hasher.hash("a password that nobody has")

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


def _parameters(entry: UserEntry) -> argon2.Parameters:
    return argon2.extract_parameters(entry.password_hash)


def _cost(parameters: argon2.Parameters) -> int:
    return parameters.memory_cost * parameters.time_cost


def _is_right(password_hash: str, password: str) -> bool:
    if len(password) > LONGEST_PASSWORD:
        return False
    try:
        return _HASHER.verify(password_hash, password)
    except (VerificationError, UnicodeEncodeError):
        return False
