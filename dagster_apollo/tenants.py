"""What a tenant is, and how tenants are found.

A tenant is a folder below APOLLO_TENANTS_DIR that holds a dbt project. Its name is the folder's,
less a leading `dbt_`. An optional `apollo.yml` beside dbt_project.yml says when it runs and who
owns it; it holds no secret, and a key that is not known is an error.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from dagster_apollo.errors import TenantError
from dagster_apollo.tenant_config import CONFIG_FILE, TenantConfig

PROJECT_FILE = "dbt_project.yml"
_FOLDER_PREFIX = "dbt_"


@dataclass(frozen=True)
class Tenant:
    """A dbt project and the name that it goes by.

    Args:
        name: the folder's name less a leading `dbt_`; the first part of every asset key.
        project_dir: the absolute path of the folder that holds dbt_project.yml.
        project_name: `name:` of dbt_project.yml.
        profile_name: `profile:` of dbt_project.yml, or None where it names none.
        config: the contents of apollo.yml.
    """

    name: str
    project_dir: Path
    project_name: str
    profile_name: str | None
    config: TenantConfig

    @property
    def identifier(self) -> str:
        """The name in the alphabet of Dagster's names and of file stems: letters, digits, _."""
        return re.sub(r"\W", "_", self.name, flags=re.ASCII)

    @property
    def variable_prefix(self) -> str:
        """What the tenant's variables begin with where several tenants share an environment."""
        return f"{self.identifier.upper()}__"


def find_tenants(tenants_dir: Path) -> tuple[Tenant, ...]:
    """Find the tenants of a directory, in the order of their names.

    Args:
        tenants_dir: an absolute path.

    Raises:
        TenantError: the directory is missing or empty, a folder in it holds no valid dbt
            project or an invalid apollo.yml, or two folders give the same name.
    """
    try:
        folders = sorted(
            entry
            for entry in tenants_dir.iterdir()
            if entry.is_dir() and not entry.name.startswith((".", "_"))
        )
    except OSError as error:
        missing = isinstance(error, FileNotFoundError)
        what = "does not exist" if missing else f"cannot be listed ({type(error).__name__})"
        raise TenantError(
            f"The tenants' directory {tenants_dir} {what}. "
            "Create it, or set APOLLO_TENANTS_DIR to the directory that holds the dbt projects."
        ) from None
    tenants = tuple(sorted(map(load_tenant, folders), key=lambda tenant: tenant.name))
    if not tenants:
        raise TenantError(
            f"There is no tenant in {tenants_dir}. Put a dbt project (a folder with a "
            f"{PROJECT_FILE}) there."
        )
    _require_distinct(tenants)
    return tenants


def load_tenant(folder: Path) -> Tenant:
    """Read the tenant that a folder holds.

    Raises:
        TenantError: dbt_project.yml is missing or invalid, or apollo.yml is invalid.
    """
    project_file = folder / PROJECT_FILE
    if not project_file.is_file():
        raise TenantError(
            f"The tenant folder {folder} holds no dbt project. Add a {PROJECT_FILE} to it, or "
            "move the folder out of the tenants' directory."
        )
    project = _read_yaml_mapping(project_file)
    project_name, profile_name = project.get("name"), project.get("profile")
    if not isinstance(project_name, str) or not project_name:
        raise TenantError(f"{project_file} has no `name:`. Add the project's name.")
    if profile_name is not None and not isinstance(profile_name, str):
        raise TenantError(f"`profile:` in {project_file} is not a text. Quote the profile's name.")
    name = folder.name.removeprefix(_FOLDER_PREFIX) or folder.name
    return Tenant(name, folder.resolve(), project_name, profile_name, _read_config(folder))


def select_tenants(tenants: Sequence[Tenant], names: Iterable[str]) -> tuple[Tenant, ...]:
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
        return TenantConfig.model_validate(_read_yaml_mapping(path))
    except ValidationError as error:
        known = ", ".join(TenantConfig.model_fields)
        details = "; ".join(
            f"{'.'.join(str(part) for part in item['loc'] if part != '[key]')}: {item['msg']}"
            for item in error.errors(include_url=False, include_input=False, include_context=False)
        )
        raise TenantError(f"{path} is not valid: {details}. Known keys are: {known}.") from None


def _read_yaml_mapping(path: Path) -> dict[str, Any]:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=loader)  # noqa: S506
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise TenantError(
            f"{path} is not valid YAML{where}: {error.problem}. Correct the file."
        ) from None
    except (OSError, ValueError, yaml.YAMLError) as error:  # ValueError: a date such as 2024-13-01
        raise TenantError(
            f"{path} cannot be read ({type(error).__name__}). Make it valid YAML in UTF-8."
        ) from None
    if content is None:
        content = {}
    if not isinstance(content, dict):
        raise TenantError(f"{path} is not a YAML mapping. It should consist of `key: value` lines.")
    return content


def _require_distinct(tenants: Sequence[Tenant]) -> None:
    by_identifier: dict[str, Tenant] = {}
    for tenant in tenants:
        other = by_identifier.setdefault(tenant.identifier.lower(), tenant)
        if other is not tenant:
            raise TenantError(
                f"{other.project_dir} and {tenant.project_dir} give tenants with the same name. "
                "Rename one of the folders."
            )
