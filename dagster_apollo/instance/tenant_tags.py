"""Every run says whose it is: in a tag, which is set where runs are stored.

The jobs of a tenant carry it. Runs of a selection of assets, whether somebody or the daemon asked
for them, are of a job that belongs to no tenant; their assets say whose they are.
"""

from typing import Final

from dagster import AssetKey, DagsterRun
from dagster._core.storage.runs import RunStorage

TENANT_TAG: Final = "apollo/tenant"


def assets_of(run: DagsterRun) -> frozenset[AssetKey]:
    """The assets that a run was asked to materialize or to check; none: whatever its job has."""
    checks = run.asset_check_selection or ()
    return frozenset([*(run.asset_selection or ()), *(check.asset_key for check in checks)])


def with_tenant(run: DagsterRun) -> DagsterRun:
    """The run, with the tag of the one tenant that it is about; without, where it is of several.

    A tag that is there already, by its job or by the run that it repeats, stays.
    """
    prefixes = {key.path[0] for key in assets_of(run)}
    if not prefixes:
        return run
    if len(prefixes) == 1:
        return run.with_tags({TENANT_TAG: prefixes.pop(), **run.tags})
    return run.with_tags({key: value for key, value in run.tags.items() if key != TENANT_TAG})


def tag_tenants(storage: RunStorage) -> None:
    """Have a storage set the tag on whatever run is added to it."""
    add_run = storage.add_run

    def add_tagged_run(dagster_run: DagsterRun) -> DagsterRun:
        return add_run(with_tenant(dagster_run))

    storage.add_run = add_tagged_run  # type: ignore[method-assign]
