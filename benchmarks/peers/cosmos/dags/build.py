"""The project as an Airflow DAG by astronomer-cosmos: for each model a task, and one for its tests.

It imports nothing of Apollo, and runs in an environment of its own.
"""

import os
from datetime import UTC, datetime
from pathlib import Path

from cosmos import (
    DbtDag,
    ExecutionConfig,
    ExecutionMode,
    LoadMode,
    ProfileConfig,
    ProjectConfig,
    RenderConfig,
)

PROJECT = Path(os.environ["BENCHMARK_PROJECT"])
PROFILES = Path(os.environ["BENCHMARK_PROFILES"])

dag = DbtDag(
    dag_id="build",
    project_config=ProjectConfig(PROJECT, manifest_path=PROJECT / "target" / "manifest.json"),
    profile_config=ProfileConfig(
        profile_name=os.environ["BENCHMARK_PROFILE"],
        target_name="local",
        profiles_yml_filepath=PROFILES / "profiles.yml",
    ),
    execution_config=ExecutionConfig(execution_mode=ExecutionMode.LOCAL),
    render_config=RenderConfig(load_method=LoadMode.DBT_MANIFEST),
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    schedule=None,
    catchup=False,
)
