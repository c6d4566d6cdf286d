"""`apollo user`."""

import getpass
import sys

from dagster_apollo.errors import ApolloError
from dagster_apollo.web.grants import Grant
from dagster_apollo.web.passwords import make_entry

_LEAST_PASSWORD = 12


def hash_user(name: str, *, role: str, tenants: str | None = None) -> None:
    """Ask for a password, and print the user's entry for APOLLO_USERS.

    Raises:
        ApolloError: the name or the role is not valid, or the password too short or too long.
    """
    try:
        grant = Grant.of(role, tenants)
    except ValueError as error:
        raise ApolloError(f"--role {error} (see --tenants, too).") from None
    entry = make_entry(name, grant, _ask_password())
    print(entry)  # noqa: T201


def _ask_password() -> str:
    """A password from the terminal, twice; or the first line of standard input."""
    if sys.stdin.isatty():
        password = getpass.getpass("Password: ")
        if getpass.getpass("Again: ") != password:
            raise ApolloError("The two passwords differ. Type the same one twice.")
    else:
        password = sys.stdin.readline().rstrip("\r\n")
    if len(password) < _LEAST_PASSWORD:
        raise ApolloError(
            f"The password is too short. Choose {_LEAST_PASSWORD} or more characters."
        )
    return password
