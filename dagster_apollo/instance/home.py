"""The instance directory (DAGSTER_HOME)."""

import os
import shutil
from pathlib import Path
from typing import Final

from dagster import DagsterInstance
from dagster_postgres.utils import DagsterPostgresException
from sqlalchemy.exc import SQLAlchemyError

from dagster_apollo.errors import ApolloError
from dagster_apollo.instance.database import DatabaseUnreachableError
from dagster_apollo.paths import CHECKOUT
from dagster_apollo.settings import load_process

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
        DatabaseUnreachableError: the database of DAGSTER_PG_URI cannot be reached.
        ApolloError: the directory cannot be written, or its SQLite files cannot be used.
    """
    try:
        return DagsterInstance.from_config(os.fspath(ensure_home(home, config)))
    except (SQLAlchemyError, DagsterPostgresException) as error:
        if load_process().dagster_pg_uri:
            raise DatabaseUnreachableError(error) from None
        raise ApolloError(
            f"The SQLite files below {home} cannot be used ({type(error).__name__}). Let the user "
            "who runs Apollo read and write them; if they are damaged, move the directories "
            "history and schedules away, and the instance begins anew."
        ) from None
