"""A code location as dagster-dbt documents it: DbtProject, @dbt_assets, DbtCliResource.

It imports nothing of Apollo. The variables say where the project is and which executor runs it.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dagster import (
    AssetExecutionContext,
    Definitions,
    define_asset_job,
    in_process_executor,
    multiprocess_executor,
)
from dagster_dbt import DbtCliResource, DbtProject, dbt_assets

project = DbtProject(
    project_dir=Path(os.environ["BENCHMARK_PROJECT"]),
    profiles_dir=Path(os.environ["BENCHMARK_PROFILES"]),
)


@dbt_assets(manifest=project.manifest_path, project=project)
def models(context: AssetExecutionContext, dbt: DbtCliResource) -> Iterator[Any]:
    """All of the project, by one `dbt build`."""
    yield from dbt.cli(["build"], context=context).stream()


defs = Definitions(
    assets=[models],
    jobs=[define_asset_job("build", selection="*")],
    resources={"dbt": DbtCliResource(project_dir=project)},
    executor=in_process_executor
    if os.environ.get("BENCHMARK_EXECUTOR") == "in_process"
    else multiprocess_executor,
)
