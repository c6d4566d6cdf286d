"""The code location: what `dagster dev`, `dg` and the production code server load."""

from dagster_apollo.collection import collection_paused

with collection_paused():
    from dagster_apollo.dbt.code_location import build_definitions
    from dagster_apollo.runtime import start

    defs = build_definitions(start())
