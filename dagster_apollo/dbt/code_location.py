"""Tenants in, one Definitions out."""

import logging
from collections.abc import Sequence

from dagster import Definitions, ResourceDefinition, in_process_executor

from dagster_apollo.dbt.assets import TenantProject, tenant_assets
from dagster_apollo.dbt.digest import read_digest
from dagster_apollo.dbt.failed_tenant import failed_tenant
from dagster_apollo.dbt.jobs import tenant_jobs, tenant_schedule
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
    for settings in runtime.settings.tenants:
        try:
            loaded.append((settings, _tenant_definitions(load_project(runtime, settings))))
        except Exception as error:  # noqa: BLE001
            failed.append((settings, _reason(settings, error)))
    if not loaded and not may_fail_alone:
        raise PrepareError("\n\n".join(reason for _, reason in failed))
    definitions = _together(loaded, failed)
    try:
        # made once: Dagster asks this object for it again
        definitions.get_repository_def()
    except Exception:  # noqa: BLE001
        taken, refused = _told_apart(loaded)
        if not taken and not may_fail_alone:
            raise PrepareError("\n\n".join(reason for _, reason in [*failed, *refused])) from None
        return _together(taken, [*failed, *refused])
    return definitions


def _together(loaded: Sequence[_Loaded], failed: Sequence[_Failed]) -> Definitions:
    shown = [failed_tenant(settings, reason) for settings, reason in failed]
    return _with_executor(*(definitions for _, definitions in loaded), *shown)


def _told_apart(loaded: Sequence[_Loaded]) -> tuple[list[_Loaded], list[_Failed]]:
    """Those whose definitions Dagster takes by themselves, and those that it refuses.

    It checks definitions when it makes a repository of all of them, and one tenant's that it
    refuses would take the others with them.
    """
    taken: list[_Loaded] = []
    refused: list[_Failed] = []
    for settings, definitions in loaded:
        try:
            _with_executor(definitions).get_repository_def()
        except Exception as error:  # noqa: BLE001
            refused.append((settings, _reason(settings, error)))
        else:
            taken.append((settings, definitions))
    return taken, refused


def _reason(settings: TenantSettings, error: Exception) -> str:
    """Why a tenant failed, said in the log, too; with a traceback where nobody foresaw it."""
    name, expected = settings.tenant.name, isinstance(error, ApolloError)
    reason = str(error) if expected else f"{type(error).__name__}: {error}"
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
    return TenantProject(settings, project, manifest, TenantTranslator(settings))


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
        assets=[assets],
        jobs=[schedule.job, *tenant_jobs(prepared)],
        schedules=[schedule] if prepared.settings.is_production else [],
        # hardcoded: the fields of a resource that Dagster configures are stored with every job
        resources={prepared.resource_key: ResourceDefinition.hardcoded_resource(dbt)},
    )
