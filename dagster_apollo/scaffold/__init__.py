"""A new tenant's project: it builds at once, on DuckDB and on Snowflake, and routes its schemas."""

import os
import re
import shutil
from pathlib import Path
from string import Template
from typing import Final

from dagster_apollo.config_schema import SCHEMA_FILE
from dagster_apollo.errors import TenantError
from dagster_apollo.paths import CHECKOUT

_PROJECT: Final = Path(__file__).parent / "project"
_COMMON_PACKAGE: Final = CHECKOUT / "dbt" / "apollo"
_MAX_LENGTH: Final = 40
"""Room for what Dagster's names add to the tenant's."""
_PACKAGES: Final = ("apollo", "dbt")
"""What each tenant's project is parsed with: dbt/apollo, and dbt's own macros."""
_PACKAGE_PREFIX: Final = "dbt_"
"""Of the adapters' packages, and of most that are installed: dbt_duckdb, dbt_utils."""


def create_project(tenants_dir: Path, name: str) -> Path:
    """Write the project of a new tenant.

    Args:
        tenants_dir: where tenants live; made if there is none.
        name: the tenant's name.

    Returns:
        The new folder, `dbt_<name>`. It appears whole or not at all.

    Raises:
        TenantError: the name is not usable, taken or a package's, or the folder cannot be written.
    """
    if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name) or len(name) > _MAX_LENGTH:
        raise TenantError(
            f"A tenant cannot be named {name!r}. Take lower-case letters, digits and single "
            f"underscores, a letter first, {_MAX_LENGTH} characters at most."
        )
    if name in _PACKAGES or name.startswith(_PACKAGE_PREFIX):
        raise TenantError(
            f"A tenant cannot be named {name}: its dbt project would have the name of a dbt "
            f"package, and dbt refuses two of one name. Take one that is neither "
            f"{' nor '.join(_PACKAGES)} and does not begin with {_PACKAGE_PREFIX}."
        )
    folder = tenants_dir / f"dbt_{name}"
    for taken in tenants_dir.glob("*"):
        if re.sub(r"\W", "_", taken.name.removeprefix("dbt_"), flags=re.ASCII).lower() == name:
            raise TenantError(f"There is a tenant {name} already: {taken}. Take another name.")
    staging = tenants_dir / f".dbt_{name}.{os.getpid()}"
    values = {
        "name": name,
        "package": os.path.relpath(_COMMON_PACKAGE, folder),
        "schema": os.path.relpath(SCHEMA_FILE, folder),
    }
    try:
        tenants_dir.mkdir(parents=True, exist_ok=True)
        _write(staging, values)
        staging.rename(folder)
    except OSError as error:
        raise TenantError(
            f"{folder} cannot be written: {os.strerror(error.errno or 0)}. "
            "Make the tenants' directory writable, or set APOLLO_TENANTS_DIR to one that is."
        ) from None
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return folder


def _write(folder: Path, values: dict[str, str]) -> None:
    for template in sorted(_PROJECT.rglob("*")):
        if template.is_file():
            path = folder / template.relative_to(_PROJECT)
            path.parent.mkdir(parents=True, exist_ok=True)
            text = template.read_text(encoding="utf-8")
            path.write_text(Template(text).substitute(values), encoding="utf-8")
