"""How a dbt node looks in Dagster."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from dagster import AssetDep, AssetKey, AssetSpec

from dagster_apollo.dbt.asset_specs import KNOWN, SpecMaker, upstream_first
from dagster_apollo.dbt.stock import DagsterDbtTranslator, DagsterDbtTranslatorSettings, DbtProject
from dagster_apollo.names import legible
from dagster_apollo.settings import TenantSettings
from dagster_apollo.tenant_config import is_owner

_SETTINGS: Final = DagsterDbtTranslatorSettings(
    enable_code_references=True,
    enable_source_tests_as_checks=True,
)

_TABLE_NAME: Final = "dagster/table_name"


class TenantTranslator(DagsterDbtTranslator):
    """Asset keys below the tenant's name; all else from the manifest.

    Args:
        settings: the tenant.
        elsewhere: the keys of other tenants' assets that are sources of this one, by their ids.
    """

    def __init__(
        self, settings: TenantSettings, elsewhere: Mapping[str, AssetKey] | None = None
    ) -> None:
        super().__init__(_SETTINGS)
        self._tenant = settings.tenant
        self._elsewhere = elsewhere or {}
        self._specs: dict[tuple[int, int], dict[str, AssetSpec]] = {}
        self._makers: dict[tuple[int, int], SpecMaker] = {}

    def get_asset_key(self, dbt_resource_props: Mapping[str, Any]) -> AssetKey:
        """`[tenant, ...dbt's own key]`, so that equal names of two tenants never meet."""
        return super().get_asset_key(dbt_resource_props).with_prefix(self._tenant.key_prefix)

    def get_group_name(self, dbt_resource_props: Mapping[str, Any]) -> str | None:
        """The dbt group, else the folder below models/ (seeds/, snapshots/)."""
        group = super().get_group_name(dbt_resource_props) or _folder(dbt_resource_props)
        return legible(group) if group else None

    def get_owners(self, dbt_resource_props: Mapping[str, Any]) -> Sequence[str] | None:
        """The owners in the node's meta, else its group's, else the tenant's.

        What Dagster does not take for an owner is left out: it would refuse the whole project.
        """
        named = super().get_owners(dbt_resource_props) or self._tenant.config.owners
        return [it for it in named if isinstance(it, str) and is_owner(it)] or None

    def get_metadata(self, dbt_resource_props: Mapping[str, Any]) -> Mapping[str, Any]:
        """As stock, but of a source without the name of its table.

        Dagster (1.13) takes a source for whatever asset has the same table, in any tenant, and
        refuses all definitions where two have. Within a project keys.py does that.
        """
        metadata = super().get_metadata(dbt_resource_props)
        if dbt_resource_props["resource_type"] != "source":
            return metadata
        return {name: value for name, value in metadata.items() if name != _TABLE_NAME}

    def get_code_version(self, dbt_resource_props: Mapping[str, Any]) -> str | None:
        """The checksum of the node's file, as dbt compares it for `state:modified`."""
        checksum = dbt_resource_props.get("checksum") or {}
        return checksum.get("checksum") or super().get_code_version(dbt_resource_props)

    def get_asset_spec(
        self, manifest: Mapping[str, Any], unique_id: str, project: DbtProject | None
    ) -> AssetSpec:
        """The stock spec; its kinds say how the node is built, too.

        Dagster asks for each some twenty times, so it is made once.
        """
        specs = self._specs.setdefault((id(manifest), id(project)), {})
        if unique_id not in specs:
            if not (KNOWN and project):
                return specs.setdefault(unique_id, self._stock_spec(manifest, unique_id, project))
            maker = self._maker(manifest, project)
            for it in upstream_first(unique_id, maker.upstream, specs):
                specs[it] = maker.spec(it, _kind(self.get_resource_props(manifest, it)))
        return specs[unique_id]

    def sources_elsewhere(
        self, manifest: Mapping[str, Any], project: DbtProject
    ) -> Iterator[AssetSpec]:
        """The sources that are other tenants' assets, as this tenant sees them.

        What its tests and freshness checks find stays with it, as assets downstream of the real
        ones: checks on an asset run with its jobs, and no job runs the dbt of two tenants.
        """
        for source, key in self._elsewhere.items():
            spec = self.get_asset_spec(manifest, source, project)
            yield spec.replace_attributes(deps=[AssetDep(key)])

    def _stock_spec(
        self, manifest: Mapping[str, Any], unique_id: str, project: DbtProject | None
    ) -> AssetSpec:
        spec = super().get_asset_spec(manifest, unique_id, project)
        kind = _kind(self.get_resource_props(manifest, unique_id))
        replaced = {
            self.get_asset_key(self.get_resource_props(manifest, source)): key
            for source, key in self._elsewhere.items()
        }
        deps = [
            AssetDep(replaced[it.asset_key]) if it.asset_key in replaced else it for it in spec.deps
        ]
        return spec.replace_attributes(kinds={*spec.kinds, *([kind] if kind else [])}, deps=deps)

    def _maker(self, manifest: Mapping[str, Any], project: DbtProject) -> SpecMaker:
        memo = (id(manifest), id(project))
        if memo not in self._makers:
            self._makers[memo] = SpecMaker(self, manifest, project, self._elsewhere)
        return self._makers[memo]


def _folder(props: Mapping[str, Any]) -> str | None:
    if props["resource_type"] == "source":
        return None
    folders = Path(props["original_file_path"]).parts[:-1]
    if props["resource_type"] == "model":
        return folders[1] if len(folders) > 1 else None
    return folders[0] if folders else None


def _kind(props: Mapping[str, Any]) -> str | None:
    """seed, snapshot, or a model's materialization; None for sources."""
    if props["resource_type"] == "source":
        return None
    if props["resource_type"] != "model":
        return str(props["resource_type"])
    kind = str(props["config"].get("materialized") or "")
    return kind if re.fullmatch(r"[a-z][a-z0-9_]{0,29}", kind) else None
