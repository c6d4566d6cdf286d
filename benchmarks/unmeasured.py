"""The rows that are to be in the table and are not measured yet, with the reason."""

from typing import Final

from benchmarks.table import Row

UNMEASURED: Final = (
    Row(
        "prefect-dbt",
        "peer: prefect-dbt, by node and by one command",
        "1,000 models + 3,000 tests",
        result="needs an environment of its own: it fails to import with the newest FastAPI",
    ),
    Row(
        "cosmos",
        "peer: astronomer-cosmos",
        "1,000 models + 3,000 tests",
        result="needs Airflow, in an environment of its own",
    ),
)
