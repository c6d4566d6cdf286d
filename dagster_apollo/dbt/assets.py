"""One multi-asset a tenant: its models, seeds and snapshots, its tests as checks."""

import json
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any

from dagster import (
    AssetCheckKey,
    AssetExecutionContext,
    AssetKey,
    AssetsDefinition,
    Config,
    Failure,
)
from dagster._core.storage.tags import ASSET_RESUME_RETRY_TAG
from pydantic import Field

from dagster_apollo.collection import collection_paused
from dagster_apollo.dbt.load_costs import types_taken_as_they_are
from dagster_apollo.dbt.manifest import Manifest
from dagster_apollo.dbt.process import require_own_end, stop_dbt
from dagster_apollo.dbt.resource import TenantDbtResource
from dagster_apollo.dbt.selection import resolve_selection, selection_arguments
from dagster_apollo.dbt.step_costs import StepCosts
from dagster_apollo.dbt.stock import (
    DbtProject,
    dbt_assets,
    get_asset_check_key_for_test,
    get_dbt_test_names_for_check_keys,
    get_subset_selection_for_context,
)
from dagster_apollo.dbt.translator import TenantTranslator
from dagster_apollo.errors import ApolloError
from dagster_apollo.instance.buffering import event_buffering
from dagster_apollo.settings import TenantSettings
from dagster_apollo.tenants import find_folders


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
        """The name of the op that builds the tenant, which run config is given under.

        Dagster (1.13) refuses an op and a job of one name once it loads the job, and beside acme,
        the job of a tenant acme_dbt has the usual one. All tenants that there are decide it, so
        that the process of a run gives the same name.
        """
        identifier = self.settings.tenant.identifier
        others = find_folders(self.settings.tenant.folder.parent)
        if any(it.identifier == f"{identifier}_dbt" for it in others):
            return f"{identifier}_build_dbt"
        return f"{identifier}_dbt_build"


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
        selection = _selection(context, config, prepared)
        if not selection:
            context.log.info("All that this run's config selects has been built before.")
            return
        invocation = dbt.cli(
            build_arguments(config, selection),
            manifest=prepared.manifest,
            dagster_dbt_translator=prepared.translator,
            context=context,
        )
        costs = StepCosts(context)
        with event_buffering(context.instance, context.run_id):
            try:
                for event in invocation.stream():
                    yield from costs.events(event)
            except Failure:
                require_own_end(invocation.process)
                raise
            finally:
                stop_dbt(invocation.process)

    return _build


def _selection(
    context: AssetExecutionContext, config: BuildConfig, prepared: TenantProject
) -> list[str]:
    """Dbt's selection arguments: what the run materializes, narrowed by its config.

    None where a run is resumed that had built all of it.
    """
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
    is_resumed = ASSET_RESUME_RETRY_TAG in context.run.tags
    if selected.assets <= context.selected_asset_keys and not is_resumed:
        return selection_arguments(config.select, config.exclude)
    chosen = selected.assets & context.selected_asset_keys
    # a run that is resumed also tests what was built before, where the tests did not come to it
    tests = context.selected_asset_check_keys if is_resumed else None
    names = [
        ".".join(node["fqn"])
        for unique_id in sorted(selected.unique_ids)
        if (node := prepared.manifest["nodes"].get(unique_id))
        and _is_chosen(node, chosen, tests, prepared)
    ]
    if not names and is_resumed:
        return []
    if not names:
        raise ApolloError(
            "The run config's select and exclude leave none of the assets that the run "
            "materializes. Choose other assets, or another selection."
        )
    return ["--select", *names, "--indirect-selection", "empty"]


def _is_chosen(
    node: Mapping[str, Any],
    assets: AbstractSet[AssetKey],
    tests: AbstractSet[AssetCheckKey] | None,
    prepared: TenantProject,
) -> bool:
    """Whether a node is to be built.

    Args:
        node: the node.
        assets: those that are to be built.
        tests: the checks that are to be executed; None: those of which all parents are built.
        prepared: the tenant.
    """
    manifest, translator, project = prepared.manifest, prepared.translator, prepared.project
    if node["resource_type"] != "test":
        return translator.get_asset_spec(manifest, node["unique_id"], project).key in assets
    if tests is not None:
        key = get_asset_check_key_for_test(manifest, translator, node["unique_id"], project)
        if key is not None:
            return key in tests
    parents = [p for p in node["depends_on"]["nodes"] if p in manifest["nodes"]]
    return all(_is_chosen(manifest["nodes"][p], assets, tests, prepared) for p in parents)
