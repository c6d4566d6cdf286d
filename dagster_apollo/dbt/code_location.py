"""Tenants in, one Definitions out."""

import logging
from collections.abc import Sequence

from dagster import AssetKey, Definitions, ResourceDefinition, in_process_executor

from dagster_apollo.dbt.assets import TenantProject, tenant_assets
from dagster_apollo.dbt.digest import read_digest
from dagster_apollo.dbt.failed_tenant import failed_tenant
from dagster_apollo.dbt.jobs import tenant_jobs, tenant_schedule
from dagster_apollo.dbt.lineage import lineage_problems, reads_of
from dagster_apollo.dbt.manifest import Manifest
from dagster_apollo.dbt.plan_costs import plan_in_proportion
from dagster_apollo.dbt.prepare import digest_path
from dagster_apollo.dbt.project import tenant_project
from dagster_apollo.dbt.resource import RunObserver, TenantDbtResource
from dagster_apollo.dbt.translator import TenantTranslator
from dagster_apollo.errors import ApolloError, PrepareError
from dagster_apollo.runtime import Runtime
from dagster_apollo.settings import TenantSettings

_Loaded = tuple[TenantSettings, Definitions]
_Failed = tuple[TenantSettings, str]
_log = logging.getLogger(__name__)


def build_definitions(runtime: Runtime, *, may_fail_alone: bool = False) -> Definitions:
    """Everything that Dagster is to know of the tenants that this process serves.

    A tenant that cannot be loaded is shown as failed, and the others load without it. Where none
    can be, there is nothing to serve.

    A run has one step, so it executes in the run's own process: a second one would only load all
    of this again.

    Args:
        runtime: the tenants.
        may_fail_alone: show what failed where nothing else can be loaded, too: a run of it is to
            fail with the reason.

    Raises:
        PrepareError: no tenant can be loaded: the manifests are stale and may not or cannot be
            prepared here.
    """
    plan_in_proportion()
    loaded: list[_Loaded] = []
    failed: list[_Failed] = []
    manifests: dict[str, Manifest] = {}
    for settings in runtime.settings.tenants:
        try:
            project = load_project(runtime, settings)
            loaded.append((settings, _tenant_definitions(project)))
            manifests[settings.tenant.name] = project.manifest
        except Exception as error:  # noqa: BLE001
            failed.append((settings, _reason(settings, error)))
    if not loaded and not may_fail_alone:
        raise PrepareError("\n\n".join(reason for _, reason in failed))
    at_hand = [settings for settings, _ in loaded]
    for problem in lineage_problems(
        runtime.settings.tenants_dir, at_hand, lambda it: manifests[it.tenant.name]
    ):
        _log.error("%s", problem)
    definitions = _together(loaded, failed)
    try:
        # made once: Dagster asks this object for it again
        definitions.get_repository_def()
    except Exception:  # noqa: BLE001
        taken, refused = _told_apart(loaded)
        if not taken and not may_fail_alone:
            raise PrepareError("\n\n".join(reason for _, reason in [*failed, *refused])) from None
        return _together(taken, _showable(taken, [*failed, *refused]))
    return definitions


def _together(loaded: Sequence[_Loaded], failed: Sequence[_Failed]) -> Definitions:
    shown = [failed_tenant(settings, reason) for settings, reason in failed]
    return _with_executor(*(definitions for _, definitions in loaded), *shown)


def _told_apart(loaded: Sequence[_Loaded]) -> tuple[list[_Loaded], list[_Failed]]:
    """Those whose definitions Dagster takes, and those that it refuses.

    It checks definitions when it makes a repository of all of them, and one tenant's that it
    refuses would take the others with them. Where it takes each by itself, but not all together,
    those that come first are taken.
    """
    taken, refused = _refused(loaded, beside=False)
    if taken and _refusal([definitions for _, definitions in taken]):
        taken, also_refused = _refused(taken, beside=True)
        refused += also_refused
    return taken, refused


def _showable(taken: Sequence[_Loaded], failed: Sequence[_Failed]) -> list[_Failed]:
    """The failed tenants whose jobs have names of their own; the log tells of any other."""
    beside = [definitions for _, definitions in taken]
    return [it for it in failed if not _refusal([*beside, failed_tenant(*it)])]


def _refused(loaded: Sequence[_Loaded], *, beside: bool) -> tuple[list[_Loaded], list[_Failed]]:
    """Ask Dagster of one tenant after the other, each alone or beside those it has taken."""
    taken: list[_Loaded] = []
    refused: list[_Failed] = []
    for settings, definitions in loaded:
        others = [it for _, it in taken] if beside else []
        if error := _refusal([*others, definitions]):
            refused.append((settings, _reason(settings, error)))
        else:
            taken.append((settings, definitions))
    return taken, refused


def _refusal(definitions: Sequence[Definitions]) -> Exception | None:
    """What Dagster has against definitions."""
    try:
        _with_executor(*definitions).get_repository_def()
    except Exception as error:  # noqa: BLE001
        return error
    return None


def _reason(settings: TenantSettings, error: Exception) -> str:
    """Why a tenant failed, said in the log, too; with a traceback where nobody foresaw it.

    The UI shows what is returned. The text of an error that nobody foresaw may hold any value.
    """
    name, expected = settings.tenant.name, isinstance(error, ApolloError)
    reason = (
        str(error)
        if expected
        else f"Tenant {name} cannot be loaded: {type(error).__name__} in Apollo or Dagster. "
        "The log of the code server has its text and traceback."
    )
    _log.error("Tenant %s failed to load: %s", name, reason, exc_info=not expected and error)
    return reason


def load_project(runtime: Runtime, settings: TenantSettings) -> TenantProject:
    """Prepare a tenant where that is allowed, and read its manifest's digest.

    Raises:
        PrepareError: the manifest is stale and may not or cannot be prepared here.
        TenantError: the tenant's files cannot be used.
    """
    settings.tenant.require_sound()
    project = tenant_project(settings, runtime.profiles_dir(settings))
    project.prepare_if_dev()
    manifest = read_digest(digest_path(settings))
    read = reads_of(runtime.settings.tenants_dir, settings, manifest)
    elsewhere = {source: AssetKey(path) for source, path in read.assets.items()}
    return TenantProject(settings, project, manifest, TenantTranslator(settings, elsewhere))


def tenant_code_location(prepared: TenantProject, observer: RunObserver) -> Definitions:
    """One tenant's definitions by themselves, its dbt followed by an observer."""
    return _with_executor(_tenant_definitions(prepared, observer))


def _with_executor(*definitions: Definitions) -> Definitions:
    return Definitions.merge(*definitions, Definitions(executor=in_process_executor))


def _tenant_definitions(
    prepared: TenantProject, observer: RunObserver | None = None
) -> Definitions:
    """Assets, checks, jobs and the dbt resource of a tenant; the schedule in production only."""
    assets = tenant_assets(prepared)
    schedule = tenant_schedule(prepared, assets)
    dbt = TenantDbtResource(prepared.settings, prepared.project, observer)
    return Definitions(
        assets=[
            assets,
            *prepared.translator.sources_elsewhere(prepared.manifest, prepared.project),
        ],
        jobs=[schedule.job, *tenant_jobs(prepared)],
        schedules=[schedule] if prepared.settings.is_production else [],
        # hardcoded: the fields of a resource that Dagster configures are stored with every job
        resources={prepared.resource_key: ResourceDefinition.hardcoded_resource(dbt)},
    )
