"""dbt's selection language, resolved against a manifest without starting dbt."""

from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any

from dagster import AssetCheckKey, AssetKey
from dagster._utils.warnings import disable_dagster_warnings
from packaging.version import Version

from dagster_apollo.dbt.interpreter import own_versions
from dagster_apollo.dbt.manifest import Manifest, asset_nodes, read_manifest
from dagster_apollo.dbt.stock import DbtProject, get_asset_check_key_for_test, utils
from dagster_apollo.dbt.translator import TenantTranslator
from dagster_apollo.errors import ApolloError


@dataclass(frozen=True)
class Selection:
    """What a `--select`/`--exclude` matches.

    Args:
        unique_ids: every matching dbt node, tests and unit tests included.
        assets: the assets among them.
        checks: the asset checks among them.
    """

    unique_ids: frozenset[str]
    assets: frozenset[AssetKey]
    checks: frozenset[AssetCheckKey]

    @property
    def is_buildable(self) -> bool:
        """Whether `dbt build` has anything to do; it has not for a unit test without its model."""
        return bool(self.assets or self.checks)


def resolve_selection(
    manifest: Manifest,
    translator: TenantTranslator,
    project: DbtProject,
    *,
    select: str | None,
    exclude: str | None,
) -> Selection:
    """Find what a dbt selection matches.

    Args:
        manifest: the digest of the tenant's manifest.
        translator: gives nodes their asset keys.
        project: the tenant's project; dbt selects from its whole manifest.
        select: dbt's `--select`; None selects everything.
        exclude: dbt's `--exclude`.

    Raises:
        ApolloError: the selection is not valid, or needs what only a running dbt has (`state:`).
    """
    whole = read_manifest(project.manifest_path)
    try:
        unique_ids = _select_unique_ids(
            select=select or "fqn:*",
            exclude=exclude or "",
            selector="",
            project=project,
            manifest_json=whole,
        )
    except Exception as error:  # noqa: BLE001  # dbt's own classes, of several packages
        raise ApolloError(
            f"The selection is not valid: {error}. See `dbt ls --help` for the syntax."
        ) from None
    with disable_dagster_warnings():  # of classes in beta
        assets = frozenset(
            translator.get_asset_spec(manifest, node["unique_id"], project).key
            for node in asset_nodes(manifest)
            if node["unique_id"] in unique_ids
        )
        checks = frozenset(
            key
            for unique_id in unique_ids
            if unique_id.startswith("test.")
            and unique_id in manifest["nodes"]
            and (key := get_asset_check_key_for_test(manifest, translator, unique_id, project))
        )
    return Selection(frozenset(unique_ids), assets, checks)


def _select_unique_ids(**selection: Any) -> AbstractSet[str]:  # noqa: ANN401
    """Select by dbt's own code, which dagster-dbt was imported without (see stock.py)."""
    from dbt_common.events.event_manager_client import cleanup_event_logger

    cleanup_event_logger()  # dbt would print a warning of a criterion that matches nothing
    name = "DBT_PYTHON_VERSION"  # absent otherwise, see stock.py
    setattr(utils, name, Version(own_versions()["dbt-core"]))
    try:
        return utils.select_unique_ids(**selection)
    finally:
        setattr(utils, name, None)


def selection_arguments(select: str | None, exclude: str | None) -> list[str]:
    """Dbt's arguments for a selection as a person typed it."""
    return [
        *(["--select", *select.split()] if select else []),
        *(["--exclude", *exclude.split()] if exclude else []),
    ]
