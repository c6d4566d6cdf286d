"""What a tenant is, and how tenants are found.

A tenant is a folder below APOLLO_TENANTS_DIR that holds a dbt project, in itself or further down.
Its name is the folder's, less a leading `dbt_`. An optional `apollo.yml` in the folder says how
Apollo runs it; it holds no secret, and a key that is not known is an error.
"""

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from dagster_apollo.errors import TenantError
from dagster_apollo.names import identifier as identifier_of
from dagster_apollo.names import legible
from dagster_apollo.requirements import read_requirements
from dagster_apollo.tenant_config import CONFIG_FILE, TenantConfig
from dagster_apollo.tenant_root import PROJECT_FILE, find_root
from dagster_apollo.yaml_files import read_mapping

_FOLDER_PREFIX = "dbt_"
_FolderT = TypeVar("_FolderT", bound="TenantFolder")


@dataclass(frozen=True)
class TenantFolder:
    """A tenant as far as its folder's name says what it is; none of its files is read for that.

    Args:
        name: the folder's name less a leading `dbt_`; the first part of every asset key.
        folder: the absolute path of its folder in the tenants' directory, which may be a link.
    """

    name: str
    folder: Path

    @property
    def identifier(self) -> str:
        """The name in the alphabet of Dagster's names and of file stems: letters, digits, _."""
        return re.sub(r"\W", "_", self.name, flags=re.ASCII)

    @property
    def key_prefix(self) -> str:
        """The first part of the tenant's asset keys: its name, in characters that Dagster takes."""
        return legible(self.name, allowed=".-")

    @property
    def variable_prefix(self) -> str:
        """What the tenant's variables begin with where several tenants share an environment."""
        return f"{self.identifier.upper()}__"


@dataclass(frozen=True)
class Tenant(TenantFolder):
    """A dbt project and the name that it goes by.

    Args:
        project_dir: the real path of the folder that holds dbt_project.yml: the project's root.
        project_name: `name:` of dbt_project.yml.
        profile_name: `profile:` of dbt_project.yml, or None where it names none.
        config: the contents of apollo.yml.
        fault: why its files cannot be used; None where they can. Of the rest only the name and the
            folder are then sure, and the config as far as apollo.yml is valid.
    """

    project_dir: Path
    project_name: str
    profile_name: str | None
    config: TenantConfig
    fault: str | None = None

    def require_sound(self) -> None:
        """Refuse to go on with a tenant whose files cannot be used.

        Raises:
            TenantError: it says which file, and the mend.
        """
        if self.fault is not None:
            raise TenantError(self.fault)


def find_tenants(tenants_dir: Path) -> tuple[Tenant, ...]:
    """Find the tenants of a directory, in the order of their names, and read their files.

    Raises:
        TenantError: as `find_folders`.
    """
    return tuple(map(load_or_fault, find_folders(tenants_dir)))


def find_folders(tenants_dir: Path) -> tuple[TenantFolder, ...]:
    """Find the tenants of a directory, in the order of their names, without reading their files.

    Args:
        tenants_dir: an absolute path.

    Raises:
        TenantError: the directory is missing or empty, or two folders give the same name.
    """
    try:
        folders = sorted(
            entry
            for entry in tenants_dir.iterdir()
            # a link that leads nowhere is a tenant whose volume is missing, not no tenant
            if (entry.is_dir() or (entry.is_symlink() and not entry.exists()))
            and not entry.name.startswith((".", "_"))
        )
    except OSError as error:
        missing = isinstance(error, FileNotFoundError)
        what = "does not exist" if missing else f"cannot be listed ({type(error).__name__})"
        raise TenantError(
            f"The tenants' directory {tenants_dir} {what}. "
            "Create it, or set APOLLO_TENANTS_DIR to the directory that holds the dbt projects."
        ) from None
    found = sorted(
        (TenantFolder(name_of(folder), folder) for folder in folders), key=lambda it: it.name
    )
    if not found:
        raise TenantError(
            f"There is no tenant in {tenants_dir}. Put a dbt project (a folder with a "
            f"{PROJECT_FILE}) there."
        )
    _require_distinct(found)
    return tuple(found)


def load_tenant(folder: Path) -> Tenant:
    """Read the tenant that a folder holds.

    Raises:
        TenantError: dbt_project.yml is missing, invalid or one of several, or apollo.yml is
            invalid, or names requirements that cannot be used.
    """
    config = _read_config(folder)
    root = find_root(folder, config.root)
    read_requirements(folder, config)
    project_file = root / PROJECT_FILE
    project = read_mapping(project_file)
    project_name, profile_name = project.get("name"), project.get("profile")
    if not isinstance(project_name, str) or not project_name:
        raise TenantError(f"{project_file} has no `name:`. Add the project's name.")
    if profile_name is not None and not isinstance(profile_name, str):
        raise TenantError(f"`profile:` in {project_file} is not a text. Quote the profile's name.")
    return Tenant(name_of(folder), folder, root.resolve(), project_name, profile_name, config)


def load_or_fault(found: TenantFolder) -> Tenant:
    """The tenant, with its fault if its files cannot be used: it fails by itself.

    Whatever is wrong in a folder is no matter of the others.
    """
    name, folder = found.name, found.folder
    try:
        return load_tenant(folder)
    except Exception as error:  # noqa: BLE001
        fault = _fault(folder, error)
    try:
        config = _read_config(folder)
    except Exception:  # noqa: BLE001
        config = TenantConfig()
    return Tenant(name, folder, Path(os.path.realpath(folder)), name, None, config, fault)


def _fault(folder: Path, error: Exception) -> str:
    if folder.is_symlink() and not folder.exists():
        return f"{folder} is a link that leads nowhere. Mount or restore what it leads to."
    if isinstance(error, TenantError):
        return str(error)
    reason = os.strerror(error.errno or 0) if isinstance(error, OSError) else type(error).__name__
    return f"The tenant folder {folder} cannot be read: {reason}. Correct the folder or its files."


def name_of(folder: Path) -> str:
    """The name of the tenant that a folder of the tenants' directory is."""
    return folder.name.removeprefix(_FOLDER_PREFIX) or folder.name


def select_tenants(tenants: Sequence[_FolderT], names: Iterable[str]) -> tuple[_FolderT, ...]:
    """Choose tenants by name; no names means all of them.

    Raises:
        TenantError: a name that no tenant has; the message lists those that exist.
    """
    wanted = set(names)
    unknown = sorted(wanted - {tenant.name for tenant in tenants})
    if unknown:
        known = ", ".join(tenant.name for tenant in tenants)
        raise TenantError(f"There is no tenant named {', '.join(unknown)}. Tenants are: {known}.")
    return tuple(tenant for tenant in tenants if not wanted or tenant.name in wanted)


def _read_config(folder: Path) -> TenantConfig:
    path = folder / CONFIG_FILE
    if not path.exists():
        return TenantConfig()
    try:
        return TenantConfig.model_validate(read_mapping(path))
    except ValidationError as error:
        known = ", ".join(TenantConfig.model_fields)
        details = "; ".join(
            f"{'.'.join(str(part) for part in item['loc'] if part != '[key]')}: {item['msg']}"
            for item in error.errors(include_url=False, include_input=False, include_context=False)
        )
        raise TenantError(f"{path} is not valid: {details}. Known keys are: {known}.") from None


def _require_distinct(tenants: Sequence[TenantFolder]) -> None:
    known: dict[str, TenantFolder] = {}
    for tenant in tenants:
        # by the key, too: café and cafe have one, and Dagster would refuse the assets of both
        names = {tenant.identifier.lower(), identifier_of([tenant.key_prefix]).lower()}
        other = next((known[name] for name in sorted(names) if name in known), None)
        known |= dict.fromkeys(names, tenant)
        if other is not None:
            raise TenantError(
                f"{other.folder} and {tenant.folder} give tenants with the same name. "
                "Rename one of the folders."
            )
