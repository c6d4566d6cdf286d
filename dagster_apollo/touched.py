"""Which tenants a change of files touches: what a pull request has to parse anew."""

import os
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dagster_apollo.changes import changed_since, repository_of
from dagster_apollo.dbt.fingerprint import project_folders
from dagster_apollo.lineage import tenants_read
from dagster_apollo.names import legible
from dagster_apollo.tenants import Tenant, name_of

_BY_THEMSELVES: Final = frozenset({"docs", "tests", "benchmarks"})
"""Folders of the checkout that decide nothing of what dbt parses."""


@dataclass(frozen=True)
class Inputs:
    """What a tenant is made from.

    Args:
        name: the tenant.
        prefix: the first part of its assets' keys.
        folders: the real paths of the folders that its files are in, its own first.
        reads: the first parts of the keys of assets that it declares to read.
    """

    name: str
    prefix: str
    folders: tuple[Path, ...]
    reads: frozenset[str] = frozenset()


def touched(
    files: Iterable[Path], tenants: Collection[Inputs], *, checkout: Path, tenants_dir: Path
) -> set[str]:
    """The names of the tenants that changed files touch.

    A tenant is touched by what lies in its folders, and by a change of a tenant that it reads. What
    is in no tenant's folder (Apollo itself, the requirements, CI) is shared by all of them, but for
    the documentation, the tests and the benchmarks. A file that was removed counts as any other.

    Args:
        files: absolute paths.
        tenants: all tenants, or those of which to say it.
        checkout: the absolute path of the repository.
        tenants_dir: the absolute path of the tenants' directory.
    """
    prefixes: set[str] = set()
    for path in files:
        owners = {it.prefix for it in tenants if any(map(path.is_relative_to, it.folders))}
        prefixes |= owners
        if path.is_relative_to(tenants_dir):
            # of a tenant that is no more, too: what reads it is to say so
            folder = tenants_dir / path.relative_to(tenants_dir).parts[0]
            prefixes.add(legible(name_of(folder), allowed=".-"))
        elif not owners and not _is_by_itself(path, checkout):
            return {it.name for it in tenants}
    while more := {it.prefix for it in tenants if it.reads & prefixes} - prefixes:
        prefixes |= more
    return {it.name for it in tenants if it.prefix in prefixes}


def _is_by_itself(path: Path, checkout: Path) -> bool:
    if not path.is_relative_to(checkout):
        return False
    parts = path.relative_to(checkout).parts
    return parts[0] in _BY_THEMSELVES or (len(parts) == 1 and path.suffix == ".md")


def inputs_of(tenant: Tenant) -> Inputs:
    """What a tenant is made from, local packages and paths that leave its folder included."""
    # a folder that is a link is known to Git by its own name, too
    kept = [tenant.folder, Path(os.path.realpath(tenant.folder))]
    if tenant.fault is None:
        used = {Path(os.path.realpath(it)) for it in project_folders(tenant.project_dir)}
        for folder in sorted(used):
            if not any(map(folder.is_relative_to, kept)):
                kept.append(folder)
    reads = frozenset(tenants_read(tenant))
    return Inputs(tenant.name, tenant.key_prefix, tuple(dict.fromkeys(kept)), reads)


def tenants_touched_since(
    commit: str, tenants: Sequence[Tenant], *, checkout: Path, tenants_dir: Path
) -> set[str]:
    """The names of the tenants that changes since a commit touch.

    Args:
        commit: any name of a commit, e.g. `origin/main`.
        tenants: all of them.
        checkout: a folder of the repository.
        tenants_dir: the real path of the tenants' directory.

    Raises:
        ApolloError: Git does not know the commit, or has no history that leads to both.
    """
    repository = repository_of(checkout)
    files = changed_since(repository, commit)
    inputs = [inputs_of(it) for it in tenants]
    return touched(files, inputs, checkout=repository, tenants_dir=tenants_dir)
