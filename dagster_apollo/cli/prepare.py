"""`apollo prepare`."""

import os
import time
from collections.abc import Sequence

from rich.console import Console

from dagster_apollo.dbt.digest import read_digest
from dagster_apollo.dbt.lineage import lineage_problems
from dagster_apollo.dbt.prepare import Prepared, digest_path, prepare_each, require_prepared
from dagster_apollo.errors import PrepareError
from dagster_apollo.runtime import Runtime, start
from dagster_apollo.settings import TenantSettings

_STEPS = {
    "waiting": "waiting for another process that prepares it",
    "environment": "making its environment for dbt",
    "deps": "installing dbt packages",
    "parse": "parsing",
}


def prepare_tenants(names: Sequence[str], *, force: bool, target: str | None) -> None:
    """Prepare tenants and say what was done.

    Raises:
        ApolloError: bad configuration, a project that dbt cannot parse, or a tenant that declares
            to read what another does not make.
    """
    console = Console(stderr=True, highlight=False)
    runtime = start(names=names, target=target, require_keys=False)
    chosen = runtime.settings.tenants
    prepare_with_progress(runtime, chosen, console, force=force, say_fresh=True)
    problems = lineage_problems(
        runtime.settings.tenants_dir, chosen, lambda it: read_digest(digest_path(it))
    )
    if found := list(problems):
        raise PrepareError("\n".join(found))


def prepare_with_progress(
    runtime: Runtime,
    chosen: Sequence[TenantSettings],
    console: Console,
    *,
    force: bool = False,
    say_fresh: bool = False,
) -> list[Prepared]:
    """Prepare tenants, with one line a step.

    Raises:
        PrepareError: a tenant cannot be prepared.
    """
    begun = time.monotonic()

    def show(settings: TenantSettings, step: str) -> None:
        name, seconds = settings.tenant.name, time.monotonic() - begun
        if step in _STEPS:
            console.print(f"  {name}: {_STEPS[step]} (target {settings.target})")
        elif step == "done":
            console.print(f"  {name}: prepared in {seconds:.1f} s")
        elif step == "fresh" and say_fresh:
            console.print(f"  {name}: nothing to prepare (target {settings.target})")

    results = require_prepared(
        prepare_each(chosen, runtime.profiles_dir, os.environ, force=force, progress=show)
    )
    for result in results:
        if result.unrouted and not result.was_fresh:
            console.print(
                f"  {result.settings.tenant.name}: warning: {len(result.unrouted)} node(s) have no "
                "schema of their own, which Snowflake needs; `apollo doctor` lists them"
            )
    return results
