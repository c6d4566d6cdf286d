"""Which tenants read which: what `reads:` of their apollo.yml files says, before any manifest.

A source of one tenant may be the table of another's model. An entry names the source as the project
calls it and the asset by its key as the UI shows it, so that it holds whether the other tenant is
served by the same process, by another, or cannot be loaded at all.
"""

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from dagster_apollo.errors import TenantError
from dagster_apollo.names import Path
from dagster_apollo.tenant_config import CONFIG_FILE
from dagster_apollo.tenants import Tenant, TenantFolder


@dataclass(frozen=True)
class DeclaredReads:
    """The entries of a tenant's `reads:`.

    Args:
        entries: the asset, or what begins its key, by the source's name.
        refused: what is wrong with those that are left out.
    """

    entries: Mapping[str, Path]
    refused: tuple[str, ...] = ()


def declared_reads(
    tenant: Tenant,
    folders: Sequence[TenantFolder],
    load: Callable[[TenantFolder], Tenant],
) -> DeclaredReads:
    """What a tenant declares to read of others.

    Entries by which tenants would read each other, directly or through others, are left out: assets
    may not be made from each other, and a fault in one tenant's file is not to stop another's.

    Args:
        tenant: the tenant.
        folders: all tenants of the directory, whichever process serves them.
        load: reads the files of one of them; called for those that the tenant reads only.

    Raises:
        TenantError: an entry names a tenant that does not exist, or the tenant itself.
    """
    by_prefix = {it.key_prefix: it for it in folders}
    kept: dict[str, Path] = {}
    refused: list[str] = []
    for entry, asset in tenant.config.reads.items():
        path = tuple(asset.split("/"))
        if path[0] == tenant.key_prefix:
            raise TenantError(
                f"{entry_of(tenant, entry)}: {asset} is the tenant's own. Leave the entry out; "
                "what a project makes itself is found by itself."
            )
        if path[0] not in by_prefix:
            raise TenantError(
                # names none: people who are limited to this tenant are shown why it failed
                f"{entry_of(tenant, entry)}: there is no tenant {path[0]}. Name one of those that "
                "`apollo tenant list` shows."
            )
        cycle = _way_back(tenant.key_prefix, path[0], by_prefix, load)
        if cycle:
            refused.append(
                f"{entry_of(tenant, entry)}: tenants read each other ({' reads '.join(cycle)}), so "
                "the entry is left out. Leave out one of the entries in between."
            )
        else:
            kept[entry] = path
    return DeclaredReads(kept, tuple(refused))


def entry_of(tenant: Tenant, entry: str) -> str:
    """Where an entry is, as messages begin."""
    return f"{tenant.folder / CONFIG_FILE}: reads: {entry}"


def near(wanted: str, known: Iterable[str], title: str) -> str:
    """The names that may be meant: those like the one that is wanted, else the first of all."""
    names = sorted(known)
    likely = difflib.get_close_matches(wanted, names, n=3, cutoff=0.6)
    if likely:
        return f"Is it {' or '.join(likely)}?"
    shown = ", ".join(names[:10]) + (", ..." if len(names) > len(names[:10]) else "")
    return f"{title}: {shown or 'none'}."


def tenants_read(tenant: Tenant) -> set[str]:
    """The first parts of the keys that a tenant declares to read."""
    return {asset.split("/")[0] for asset in tenant.config.reads.values()}


def _way_back(
    start: str,
    first: str,
    by_prefix: Mapping[str, TenantFolder],
    load: Callable[[TenantFolder], Tenant],
) -> list[str] | None:
    """A chain of tenants, each of which reads the next, from the start to itself."""
    seen = {first}
    waiting = [[start, first]]
    while waiting:
        way = waiting.pop()
        for prefix in sorted(tenants_read(load(by_prefix[way[-1]]))):
            if prefix == start:
                return [*way, start]
            if prefix in by_prefix and prefix not in seen:
                seen.add(prefix)
                waiting.append([*way, prefix])
    return None
