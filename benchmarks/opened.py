"""`python -m benchmarks.opened NAME`: of which tenants the process of a run of NAME opens files."""

import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def tenants_of(paths: Iterable[str], roots: Iterable[Path]) -> list[str]:
    """For each file below one of the tenants' folders, the tenant."""
    below = [f"{root}{os.sep}" for root in roots]
    return [
        path.removeprefix(root).partition(os.sep)[0].removeprefix("dbt_")
        for path in paths
        for root in below
        if path.startswith(root)
    ]


def main(name: str) -> None:
    """Load what the process of a run loads, and count."""
    opened: list[str] = []

    def note(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and isinstance(arguments[0], str | bytes | os.PathLike):
            opened.append(os.fsdecode(arguments[0]))

    sys.addaudithook(note)
    from dagster_apollo.dbt.run_scope import definitions_of

    definitions_of(name).get_repository_def()
    roots = [Path(os.environ["APOLLO_TENANTS_DIR"]), Path(os.environ["DAGSTER_HOME"], "tenants")]
    found = tenants_of(opened, roots)
    print(json.dumps({"files": len(found), "tenants": len(set(found))}))


if __name__ == "__main__":
    main(sys.argv[1])
