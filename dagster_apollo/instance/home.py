"""The instance directory (DAGSTER_HOME)."""

import os
import shutil
from pathlib import Path
from typing import Final

from dagster import DagsterInstance
from dagster_postgres.utils import DagsterPostgresException
from sqlalchemy.exc import SQLAlchemyError

from dagster_apollo.errors import ApolloError
from dagster_apollo.paths import CHECKOUT

WORKSPACE: Final = Path(__file__).with_name("workspace.yaml")
"""Names the code location; for processes that do not start in the checkout."""
LAPTOP_CONFIG: Final = Path(__file__).with_name("dagster.yaml")
"""The instance of a laptop: copied once, then the user's to change."""
RELEASE_CONFIG: Final = CHECKOUT / "deploy" / "dagster.yaml"
"""The instance of production: part of the release, so each process makes sure that it counts."""
CONFIG_FILE: Final = "dagster.yaml"


def ensure_home(home: Path, config: Path = LAPTOP_CONFIG) -> Path:
    """Create the instance directory with its dagster.yaml.

    Args:
        home: the instance directory.
        config: what its dagster.yaml is to say. A laptop's that is there already stays as it is.

    Raises:
        ApolloError: the directory cannot be written.
    """
    try:
        home.mkdir(parents=True, exist_ok=True)
        there = home / CONFIG_FILE
        if not there.exists() or (
            config != LAPTOP_CONFIG and there.read_bytes() != config.read_bytes()
        ):
            partial = home / f".{CONFIG_FILE}.{os.getpid()}"
            shutil.copyfile(config, partial)
            partial.replace(there)
    except OSError as error:
        raise ApolloError(
            f"The instance directory {home} cannot be written: {os.strerror(error.errno or 0)}. "
            "Make it writable, or set DAGSTER_HOME to a directory that is."
        ) from None
    return home


def open_instance(home: Path, config: Path = LAPTOP_CONFIG) -> DagsterInstance:
    """Open the instance of a directory, which is created on first use.

    Args:
        home: the instance directory.
        config: what its dagster.yaml is to say (see `ensure_home`).

    Raises:
        ApolloError: the directory cannot be written, or the storage cannot be reached.
    """
    try:
        return DagsterInstance.from_config(os.fspath(ensure_home(home, config)))
    except (SQLAlchemyError, DagsterPostgresException) as error:  # their texts may hold the URI
        raise ApolloError(
            f"The instance's storage cannot be reached ({type(error).__name__}). Check host, port, "
            "user and password in DAGSTER_PG_URI, and that the server is up; without the variable "
            "SQLite files are used."
        ) from None
