"""Creates one run whose events are planned ahead, in a process of its own, and prints what it took.

`python -m benchmarks.planned stock|apollo ASSETS`; each asset has three checks.
"""

import json
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dagster import (
    AssetCheckSpec,
    AssetSpec,
    DagsterInstance,
    Definitions,
    JobDefinition,
    multi_asset,
)
from sqlalchemy import event
from sqlalchemy.engine import Engine

from benchmarks.projects import TESTS
from dagster_apollo.dbt.plan_costs import plan_in_proportion
from dagster_apollo.instance.home import open_instance


def make_job(assets: int) -> JobDefinition:
    """A job of one step that makes many assets and checks."""

    @multi_asset(
        specs=[AssetSpec(f"asset_{number}", skippable=True) for number in range(assets)],
        check_specs=[
            AssetCheckSpec(f"check_{check}", asset=f"asset_{number}")
            for number in range(assets)
            for check in range(len(TESTS))
        ],
    )
    def everything() -> Iterator[Any]:
        yield from ()  # the run is created, not executed

    return Definitions(assets=[everything]).resolve_implicit_global_asset_job_def()


def main(side: str, assets: int) -> None:
    """Create the run."""
    home = Path(os.environ["DAGSTER_HOME"])
    if side == "apollo":
        plan_in_proportion()
    instance = open_instance(home) if side == "apollo" else DagsterInstance.get()
    job = make_job(assets)
    instance.get_runs_count()  # the instance is open: that is not what is measured
    counted: Counter[str] = Counter()

    def executed(*_: object) -> None:
        counted["statements"] += 1

    event.listen(Engine, "before_cursor_execute", executed)
    begun, cpu = time.monotonic(), time.process_time()
    instance.create_run_for_job(job)
    taken = {"seconds": time.monotonic() - begun, "cpu_seconds": time.process_time() - cpu}
    print(json.dumps({**taken, **counted}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
