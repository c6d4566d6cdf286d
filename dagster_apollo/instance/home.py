"""The instance directory (DAGSTER_HOME)."""

import os
import shutil
from pathlib import Path
from typing import Final

from dagster import DagsterInstance
from dagster_postgres.utils import DagsterPostgresException
from sqlalchemy.exc import SQLAlchemyError

from dagster_apollo.errors import ApolloError

WORKSPACE: Final = Path(__file__).with_name("workspace.yaml")
"""Names the code location; for processes that do not start in the checkout."""
_TEMPLATE: Final = Path(__file__).with_name("dagster.yaml")
CONFIG_FILE: Final = "dagster.yaml"


def ensure_home(home: Path) -> Path:
    """Create the instance directory with its dagster.yaml, unless they are there.

    Raises:
        ApolloError: the directory cannot be written.
    """
    try:
        home.mkdir(parents=True, exist_ok=True)
        config = home / CONFIG_FILE
        if not config.exists():
            partial = home / f".{CONFIG_FILE}.{os.getpid()}"
            shutil.copyfile(_TEMPLATE, partial)
            partial.replace(config)
    except OSError as error:
        raise ApolloError(
            f"The instance directory {home} cannot be written: {os.strerror(error.errno or 0)}. "
            "Make it writable, or set DAGSTER_HOME to a directory that is."
        ) from None
    return home


def open_instance(home: Path) -> DagsterInstance:
    """Open the instance of a directory, which is created on first use.

    Raises:
        ApolloError: the directory cannot be written, or the storage cannot be reached.
    """
    try:
        return DagsterInstance.from_config(os.fspath(ensure_home(home)))
    except (SQLAlchemyError, DagsterPostgresException) as error:  # their texts may hold the URI
        raise ApolloError(
            f"The instance's storage cannot be reached ({type(error).__name__}). Check host, port, "
            "user and password in DAGSTER_PG_URI, and that the server is up; without the variable "
            "SQLite files are used."
        ) from None
