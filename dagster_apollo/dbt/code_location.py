"""Tenants in, one Definitions out."""

from dagster import Definitions, ResourceDefinition, in_process_executor

from dagster_apollo.dbt.assets import TenantProject, tenant_assets
from dagster_apollo.dbt.jobs import tenant_jobs, tenant_schedule
from dagster_apollo.dbt.manifest import attach_tests_of_many_parents, read_manifest
from dagster_apollo.dbt.project import tenant_project
from dagster_apollo.dbt.resource import RunObserver, TenantDbtResource
from dagster_apollo.dbt.translator import TenantTranslator
from dagster_apollo.runtime import Runtime
from dagster_apollo.settings import TenantSettings


def build_definitions(runtime: Runtime) -> Definitions:
    """Everything that Dagster is to know of the tenants that this process serves.

    A run has one step, so it executes in the run's own process: a second one would only load all
    of this again.

    Raises:
        PrepareError: a tenant's manifest is stale and may not or cannot be prepared here.
    """
    tenants = [
        _tenant_definitions(load_project(runtime, settings))
        for settings in runtime.settings.tenants
    ]
    return _with_executor(*tenants)


def load_project(runtime: Runtime, settings: TenantSettings) -> TenantProject:
    """Prepare a tenant where that is allowed, and read its manifest.

    Raises:
        PrepareError: the manifest is stale and may not or cannot be prepared here.
    """
    project = tenant_project(settings, runtime.profiles_dir(settings))
    project.prepare_if_dev()
    manifest = read_manifest(project.manifest_path)
    attach_tests_of_many_parents(manifest)
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
