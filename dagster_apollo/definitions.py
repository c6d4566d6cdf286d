"""The code location: what `dagster dev`, `dg` and the production code server load."""

from dagster_apollo.collection import collection_paused

with collection_paused():
    from dagster_apollo.dbt.code_location import build_definitions
    from dagster_apollo.dbt.run_scope import load_in_runs_what_is_theirs
    from dagster_apollo.runtime import start

    _runtime = start()
    defs = build_definitions(_runtime)
    load_in_runs_what_is_theirs([settings.tenant for settings in _runtime.settings.tenants])
