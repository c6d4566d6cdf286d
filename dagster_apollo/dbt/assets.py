"""One multi-asset a tenant: its models, seeds and snapshots, its tests as checks."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from dagster import AssetExecutionContext, AssetsDefinition, Config
from pydantic import Field

from dagster_apollo.collection import collection_paused
from dagster_apollo.dbt.load_costs import types_taken_as_they_are
from dagster_apollo.dbt.manifest import Manifest
from dagster_apollo.dbt.process import stop_dbt
from dagster_apollo.dbt.resource import TenantDbtResource
from dagster_apollo.dbt.selection import resolve_selection, selection_arguments
from dagster_apollo.dbt.step_costs import StepCosts
from dagster_apollo.dbt.stock import (
    DbtProject,
    dbt_assets,
    get_dbt_test_names_for_check_keys,
    get_subset_selection_for_context,
)
from dagster_apollo.dbt.translator import TenantTranslator
from dagster_apollo.errors import ApolloError
from dagster_apollo.instance.buffering import event_buffering
from dagster_apollo.settings import TenantSettings


class BuildConfig(Config):
    """The run config of a tenant's builds."""

    full_refresh: bool = Field(
        default=False, description="Rebuild incremental models and seeds from nothing."
    )
    vars: dict[str, Any] = Field(
        default_factory=dict, description="dbt's --vars, over apollo.yml's; any mean a full parse."
    )
    select: str | None = Field(
        default=None, description="dbt's --select, within the assets that the run materializes."
    )
    exclude: str | None = Field(
        default=None, description="dbt's --exclude, within the assets that the run materializes."
    )


@dataclass(frozen=True)
class TenantProject:
    """A prepared tenant: what its definitions are made from.

    Args:
        settings: the tenant.
        project: its project, as dagster-dbt knows it.
        manifest: the digest of its manifest (digest.py).
        translator: how its nodes look in Dagster.
    """

    settings: TenantSettings
    project: DbtProject
    manifest: Manifest
    translator: TenantTranslator

    @property
    def resource_key(self) -> str:
        """The key of the tenant's own DbtCliResource."""
        return f"{self.settings.tenant.identifier}_dbt"

    @property
    def op_name(self) -> str:
        """The name of the op that builds the tenant, which run config is given under."""
        return f"{self.settings.tenant.identifier}_dbt_build"


def build_arguments(config: BuildConfig, selection: list[str]) -> list[str]:
    """The dbt command line of a build, less profile and target."""
    return [
        "build",
        *selection,
        *(["--full-refresh"] if config.full_refresh else []),
        *(
            ["--vars", json.dumps(config.vars, ensure_ascii=False, sort_keys=True)]
            if config.vars
            else []
        ),
    ]


def tenant_assets(prepared: TenantProject) -> AssetsDefinition:
    """The tenant's assets, built by one `dbt build` a run."""
    with collection_paused(), types_taken_as_they_are():
        return _assets(prepared)


def _assets(prepared: TenantProject) -> AssetsDefinition:

    @dbt_assets(
        manifest=prepared.manifest,
        dagster_dbt_translator=prepared.translator,
        project=prepared.project,
        name=prepared.op_name,
        required_resource_keys={prepared.resource_key},
        pool=prepared.settings.pool,
    )
    def _build(context: AssetExecutionContext, config: BuildConfig) -> Iterator[Any]:
        dbt: TenantDbtResource = getattr(context.resources, prepared.resource_key)
        invocation = dbt.cli(
            build_arguments(config, _selection(context, config, prepared)),
            manifest=prepared.manifest,
            dagster_dbt_translator=prepared.translator,
            context=context,
        )
        costs = StepCosts(context)
        with event_buffering(context.instance, context.run_id):
            try:
                for event in invocation.stream():
                    yield from costs.events(event)
            finally:
                stop_dbt(invocation.process)

    return _build


def _selection(
    context: AssetExecutionContext, config: BuildConfig, prepared: TenantProject
) -> list[str]:
    """Dbt's selection arguments: what the run materializes, narrowed by its config."""
    if config.select or config.exclude:
        return _narrowed_selection(context, config, prepared)
    arguments, indirect = get_subset_selection_for_context(
        context=context,
        manifest=prepared.manifest,
        select="fqn:*",
        exclude=None,
        selector=None,
        dagster_dbt_translator=prepared.translator,
        current_dbt_indirect_selection_env=None,
    )
    # one argument a node: a single argument may not be longer than 128 KiB
    names = arguments[1].split()
    if indirect is None and names != ["fqn:*"]:
        # dbt's eager default would add tests that also need nodes which are not built here
        names += get_dbt_test_names_for_check_keys(
            prepared.translator,
            prepared.manifest,
            context.assets_def,
            context.selected_asset_check_keys,
        )
        indirect = "cautious"
    return ["--select", *names, *(["--indirect-selection", indirect] if indirect else [])]


def _narrowed_selection(
    context: AssetExecutionContext, config: BuildConfig, prepared: TenantProject
) -> list[str]:
    """What the run config selects, within the assets that the run materializes."""
    selected = resolve_selection(
        prepared.manifest,
        prepared.translator,
        prepared.project,
        select=config.select,
        exclude=config.exclude,
    )
    if selected.assets <= context.selected_asset_keys:
        return selection_arguments(config.select, config.exclude)
    chosen = selected.assets & context.selected_asset_keys
    names = [
        ".".join(node["fqn"])
        for unique_id in sorted(selected.unique_ids)
        if (node := prepared.manifest["nodes"].get(unique_id))
        and _is_chosen(node, chosen, prepared)
    ]
    if not names:
        raise ApolloError(
            "The run config's select and exclude leave none of the assets that the run "
            "materializes. Choose other assets, or another selection."
        )
    return ["--select", *names, "--indirect-selection", "empty"]


def _is_chosen(node: Mapping[str, Any], chosen: Any, prepared: TenantProject) -> bool:  # noqa: ANN401
    if node["resource_type"] == "test":
        parents = [p for p in node["depends_on"]["nodes"] if p in prepared.manifest["nodes"]]
        return all(_is_chosen(prepared.manifest["nodes"][p], chosen, prepared) for p in parents)
    spec = prepared.translator.get_asset_spec(
        prepared.manifest, node["unique_id"], prepared.project
    )
    return spec.key in chosen
