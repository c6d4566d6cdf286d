"""The rows that are to be in the table and are not measured yet, with the reason."""

from typing import Final

from benchmarks.table import Row

UNMEASURED: Final = (
    Row(
        "daemon-path",
        "a run from launch to finished by daemon and code server",
        "1,000 models + 3,000 tests",
        result="the run is queued, dispatched and executed by three services: a harness of its own",
        reach="≤ 1.10 × bare",
    ),
    Row(
        "idle",
        "idle CPU of the three services",
        "10 minutes, no runs",
        result="takes 20 minutes of a quiet machine, ours and stock's one after the other",
        reach="≤ 1/10 of stock's",
    ),
    Row(
        "memory-services",
        "peak memory of webserver, daemon and code server",
        "1,000 models + 3,000 tests",
        result="needs the services' harness; the run worker is a row of each run",
        reach="less than stock in each",
    ),
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
