"""The project as a Prefect flow: `python flow.py nodes|command`, as prefect-dbt documents both.

`nodes`: PrefectDbtRunner, one `dbt build` in this process, of which each node becomes a task run.
`command`: DbtCoreOperation, which runs `dbt build` in a shell and knows of no nodes.
It imports nothing of Apollo, and runs in an environment of its own.
"""

import os
import sys
from pathlib import Path

from prefect import flow
from prefect_dbt import PrefectDbtRunner, PrefectDbtSettings
from prefect_dbt.cli.commands import DbtCoreOperation

PROJECT = Path(os.environ["BENCHMARK_PROJECT"])
PROFILES = Path(os.environ["BENCHMARK_PROFILES"])
TARGET = Path(os.environ["DBT_TARGET_PATH"])


@flow
def nodes() -> None:
    """One task run for each node."""
    settings = PrefectDbtSettings(project_dir=PROJECT, profiles_dir=PROFILES, target_path=TARGET)
    PrefectDbtRunner(settings=settings).invoke(["build"])


@flow
def command() -> None:
    """One command."""
    DbtCoreOperation(commands=["dbt build"], project_dir=PROJECT, profiles_dir=PROFILES).run()


if __name__ == "__main__":
    {"nodes": nodes, "command": command}[sys.argv[1]]()
