"""Where in a tenant's folder the dbt project is.

It is in the folder itself, or where `root:` of apollo.yml says, or else in the only subfolder that
holds a dbt_project.yml. Projects inside of a project (its packages, their tests) do not count.
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from dagster_apollo.errors import TenantError
from dagster_apollo.tenant_config import CONFIG_FILE
from dagster_apollo.yaml_files import read_mapping

PROJECT_FILE: Final = "dbt_project.yml"
_NOT_SEARCHED: Final = frozenset(
    {"dbt_packages", "target", "node_modules", "venv", "site-packages", "__pycache__"}
)


def find_root(folder: Path, declared: str | None) -> Path:
    """Find the folder that holds the tenant's dbt_project.yml.

    Args:
        folder: the tenant's folder.
        declared: `root:` of its apollo.yml.

    Raises:
        TenantError: there is no project where it is declared, or none or several to choose from;
            the message says which line to add.
    """
    if declared is not None:
        return _declared_root(folder, declared)
    if (folder / PROJECT_FILE).is_file():
        return folder
    found = _less_packages(tuple(_projects_below(folder)))
    if not found:
        raise TenantError(
            f"The tenant folder {folder} holds no dbt project. Add a {PROJECT_FILE} to it or to "
            "one of its subfolders, or move the folder out of the tenants' directory."
        )
    if len(found) > 1:
        roots = [root.relative_to(folder).as_posix() for root in found]
        raise TenantError(
            f"The tenant folder {folder} holds several dbt projects: {', '.join(roots)}. "
            f"Add the line `root: {roots[0]}` to {folder / CONFIG_FILE}, or the one that is meant."
        )
    return found[0]


def _declared_root(folder: Path, declared: str) -> Path:
    root, config = folder / declared, folder / CONFIG_FILE
    if not (root / PROJECT_FILE).is_file():
        raise TenantError(
            f"{config} says `root: {declared}`, where there is no {PROJECT_FILE}. "
            f"Name the folder that holds it, relative to {folder}."
        )
    if not root.resolve().is_relative_to(folder.resolve()):
        raise TenantError(
            f"{config} says `root: {declared}`, which a link leads out of {folder}. "
            "Put the project there, or link the tenant's whole folder."
        )
    return root


def _projects_below(folder: Path) -> Iterator[Path]:
    """The outermost folders with a project, in the order of their paths."""
    for root, folders, files in os.walk(folder):
        if PROJECT_FILE in files:
            folders.clear()
            yield Path(root)
            continue
        folders[:] = sorted(
            name for name in folders if name not in _NOT_SEARCHED and not name.startswith(".")
        )


def _less_packages(found: Sequence[Path]) -> Sequence[Path]:
    """Those that are not what `dbt deps` installed for one of the others."""
    if len(found) < 2:  # noqa: PLR2004
        return found
    installed = [
        (root / str(path)).resolve()
        for root in found
        if (path := read_mapping(root / PROJECT_FILE).get("packages-install-path"))
    ]
    return [
        root for root in found if not any(root.resolve().is_relative_to(it) for it in installed)
    ]
