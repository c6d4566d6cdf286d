"""The tenants that the process of a run loads: the run's own, and no other.

A run executes in a process of its own. Dagster 1.13 hands it the code location's pointer, by which
it would load the definitions of all tenants for the one that it runs, so that the start of each run
cost what all tenants take to load. In the code server the pointer is narrowed to the run's tenants
when the run is started. Where a name of Dagster's has moved, runs load all, as in stock Dagster.
"""

import contextlib
import functools
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from typing import Any, Final

from dagster import AssetKey, DagsterRun, Definitions
from dagster._core.code_pointer import CustomPointer, ModuleCodePointer
from dagster._core.definitions.reconstruct import ReconstructableRepository

from dagster_apollo.collection import collection_paused
from dagster_apollo.dbt.code_location import build_definitions
from dagster_apollo.dbt.jobs import job_names
from dagster_apollo.dbt.step_costs import is_known_dagster
from dagster_apollo.runtime import start
from dagster_apollo.tenants import Tenant

DEFINITIONS: Final = "dagster_apollo.definitions"
_GET: Final = "get_reconstructable_job"
_starting: ContextVar[DagsterRun | None] = ContextVar("starting", default=None)


def definitions_of(*names: str) -> Definitions:
    """What a run of these tenants needs; a tenant that cannot be loaded is there as failed."""
    with collection_paused():
        return build_definitions(start(names=names), may_fail_alone=True)


@contextlib.contextmanager
def starting(run: DagsterRun | None) -> Iterator[None]:
    """Say which run this thread starts: of some jobs the name does not tell whose they are."""
    token = _starting.set(run)
    try:
        yield
    finally:
        _starting.reset(token)


def tenants_of(
    job: str, assets: Sequence[AssetKey] | None, tenants: Sequence[Tenant]
) -> tuple[str, ...]:
    """The names of the tenants that a run is about; none where it may be about any.

    Args:
        job: the name of its job. A selection of assets in the UI has one of no tenant's.
        assets: those that it was asked to materialize or check.
        tenants: the tenants of the code location.
    """
    by_job = {name: it.name for it in tenants for name in job_names(it)}
    if job in by_job:
        return (by_job[job],)
    by_key = {it.key_prefix: it.name for it in tenants}
    prefixes = {key.path[0] for key in assets or ()}
    return tuple(sorted(by_key[it] for it in prefixes)) if prefixes <= by_key.keys() else ()


def load_in_runs_what_is_theirs(tenants: Sequence[Tenant]) -> None:
    """Let the runs that this process starts load their own tenants only.

    Args:
        tenants: the tenants of the code location.
    """
    stock = getattr(ReconstructableRepository, _GET, None)
    stock = getattr(stock, "__wrapped__", stock)
    if stock is None or not is_known_dagster():
        return

    @functools.wraps(stock)
    def narrowed(self: ReconstructableRepository, name: str) -> Any:  # noqa: ANN401
        pointer, run = self.pointer, _starting.get()
        if isinstance(pointer, ModuleCodePointer) and pointer.module == DEFINITIONS:
            names = tenants_of(name, _assets(run), tenants)
            if names:
                return stock(self._replace(pointer=_pointer(names, pointer)), name)
        return stock(self, name)

    setattr(ReconstructableRepository, _GET, narrowed)


def _assets(run: DagsterRun | None) -> list[AssetKey]:
    if run is None:
        return []
    checks = run.asset_check_selection or ()
    return [*(run.asset_selection or ()), *(check.asset_key for check in checks)]


def _pointer(names: Sequence[str], whole: ModuleCodePointer) -> CustomPointer:
    function = ModuleCodePointer(__name__, definitions_of.__name__, whole.working_directory)
    return CustomPointer(function, list(names), [])
