"""The sources of a tenant that are other tenants' assets."""

import pathlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from dagster_apollo.dbt.manifest import Manifest, asset_nodes
from dagster_apollo.errors import TenantError
from dagster_apollo.lineage import declared_reads, entry_of, near, tenants_read
from dagster_apollo.names import Path, default_path
from dagster_apollo.settings import TenantSettings
from dagster_apollo.tenants import Tenant, find_folders, load_or_fault


@dataclass(frozen=True)
class Reads:
    """What a tenant reads of others.

    Args:
        assets: the asset of each source that is another tenant's, by the source's id.
        refused: what is wrong with the entries that are left out.
    """

    assets: Mapping[str, Path]
    refused: tuple[str, ...] = ()


def reads_of(tenants_dir: pathlib.Path, settings: TenantSettings, manifest: Manifest) -> Reads:
    """What `reads:` of a tenant's apollo.yml comes to.

    Raises:
        TenantError: an entry names a tenant or a source that does not exist.
    """
    tenant = settings.tenant
    if not tenant.config.reads:
        return Reads({})
    declared = declared_reads(tenant, find_folders(tenants_dir), load_or_fault)
    return Reads(assets_read(tenant, declared.entries, manifest), declared.refused)


def lineage_problems(
    tenants_dir: pathlib.Path,
    tenants: Sequence[TenantSettings],
    manifest_of: Callable[[TenantSettings], Manifest],
) -> Iterator[str]:
    """All that is wrong with what tenants declare to read, as far as it can be told of these.

    Args:
        tenants_dir: where all tenants are.
        tenants: those that are at hand.
        manifest_of: gives a tenant's manifest; called for those that read or are read.
    """
    by_prefix = {it.tenant.key_prefix: it for it in tenants}
    for settings in tenants:
        tenant = settings.tenant
        if not tenant.config.reads:
            continue
        manifest = manifest_of(settings)
        try:
            read = reads_of(tenants_dir, settings, manifest)
        except TenantError as error:
            yield str(error)
            continue
        yield from read.refused
        others = (by_prefix[it] for it in tenants_read(tenant) if it in by_prefix)
        made = {it.tenant.key_prefix: asset_paths(it.tenant, manifest_of(it)) for it in others}
        yield from unknown_assets(tenant, read.assets, manifest, made)


def assets_read(tenant: Tenant, entries: Mapping[str, Path], manifest: Manifest) -> dict[str, Path]:
    """The asset of each source that `reads:` declares, by the source's id.

    An entry for a table wins over one for its whole source, whose tables are assets of their names.
    A source that is the table of one of the project's own nodes, as it may be on one target and not
    on another, is that node, whatever is declared.

    Args:
        tenant: the tenant.
        entries: those that count, see `declared_reads`.
        manifest: the tenant's.

    Raises:
        TenantError: an entry names no source of the project, or no asset.
    """
    tables = {
        f"{source['source_name']}.{source['name']}": (key, source)
        for key, source in manifest["sources"].items()
    }
    whole: dict[str, Path] = {}
    single: dict[str, Path] = {}
    for entry, path in entries.items():
        if entry in tables:
            if len(path) == 1:
                raise TenantError(
                    f"{entry_of(tenant, entry)}: {path[0]} is a tenant. Name the asset by its key "
                    f"as the UI shows it, e.g. {path[0]}/marts/{tables[entry][1]['name']}."
                )
            single[tables[entry][0]] = path
            continue
        found = [(key, it) for key, it in tables.values() if it["source_name"] == entry]
        if not found:
            known = {*tables, *(it["source_name"] for _, it in tables.values())}
            raise TenantError(
                f"{entry_of(tenant, entry)}: the project has no such source. "
                f"{near(entry, known, 'Its sources are')}"
            )
        whole |= {key: (*path, it["name"]) for key, it in found}
    own = asset_paths(tenant, manifest)
    return {
        key: path
        for key, path in {**whole, **single}.items()
        if (tenant.key_prefix, *default_path(manifest["sources"][key])) not in own
    }


def asset_paths(tenant: Tenant, manifest: Manifest) -> set[Path]:
    """The keys of all that a tenant makes."""
    return {(tenant.key_prefix, *default_path(node)) for node in asset_nodes(manifest)}


def unknown_assets(
    tenant: Tenant,
    read: Mapping[str, Path],
    manifest: Manifest,
    made: Mapping[str, Collection[Path]],
) -> Iterator[str]:
    """What is wrong with declared assets that their tenants do not make.

    It is no error when definitions load: another tenant's change is not to stop this one.

    Args:
        tenant: the tenant.
        read: its sources' assets, see `assets_read`.
        manifest: the tenant's.
        made: what other tenants make, by the first part of the keys; of the rest nothing is known.
    """
    for key, path in sorted(read.items()):
        known = made.get(path[0])
        if known is not None and path not in known:
            source = manifest["sources"][key]
            entry = entry_of(tenant, f"{source['source_name']}.{source['name']}")
            shown = "/".join(path)
            likely = near(shown, map("/".join, known), f"Assets of {path[0]} are")
            yield f"{entry}: there is no asset {shown}. {likely}"
