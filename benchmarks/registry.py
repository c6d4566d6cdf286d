"""All measurements by name, in the order of the table."""

from collections.abc import Callable
from functools import partial

from benchmarks import measurements, service_rows
from benchmarks.bench import Bench, Sizes
from benchmarks.peers import rows as peers
from benchmarks.table import Row

Measurement = Callable[[Bench], list[Row]]


def all_measurements(sizes: Sizes) -> dict[str, Measurement]:
    """The measurements by name, in the order of the table."""
    return {
        **{f"run-{models}": partial(measurements.run, models=models) for models in sizes.runs},
        "growth": measurements.growth,
        "planned": measurements.planned,
        "traffic": measurements.traffic,
        "start": measurements.start,
        "definitions": measurements.definitions,
        "prepare": measurements.prepare,
        "daemon-path": service_rows.daemon_path,
        "memory-services": service_rows.memory,
        "idle": service_rows.idle,
        "prefect-dbt": peers.prefect,
        "cosmos": peers.cosmos,
    }
