"""How a dbt node looks in Dagster."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from dagster import AssetKey, AssetSpec

from dagster_apollo.dbt.asset_specs import KNOWN, SpecMaker
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
    """

    def __init__(self, settings: TenantSettings) -> None:
        super().__init__(_SETTINGS)
        self._tenant = settings.tenant
        self._specs: dict[tuple[int, str, int], AssetSpec] = {}
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
        memo = (id(manifest), unique_id, id(project))
        if memo not in self._specs:
            kind = _kind(self.get_resource_props(manifest, unique_id))
            if KNOWN and project:
                self._specs[memo] = self._maker(manifest, project).spec(unique_id, kind)
            else:
                spec = super().get_asset_spec(manifest, unique_id, project)
                kinds = {*spec.kinds, *([kind] if kind else [])}
                self._specs[memo] = spec.replace_attributes(kinds=kinds)
        return self._specs[memo]

    def _maker(self, manifest: Mapping[str, Any], project: DbtProject) -> SpecMaker:
        memo = (id(manifest), id(project))
        if memo not in self._makers:
            self._makers[memo] = SpecMaker(self, manifest, project)
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
