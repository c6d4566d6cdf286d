"""From a tenant's dbt project to Dagster's assets, and from dbt's events to Dagster's."""

import sys
from typing import Final

_MARK: Final = "dbt"


def _import_dagster_dbt() -> None:
    """Import dagster-dbt without the dbt that it would import, if nothing else has imported them.

    dagster-dbt imports dbt-core and the base of the adapters for a few constants, which costs every
    process more than a second and 50 MB; where dbt-core is not installed, it has the constants
    itself (dagster_dbt.compat, 0.29). Apollo's dbt runs in a process of its own. What needs dbt
    here, which is a selection other than "all", says so (selection.py).
    """
    if "dagster_dbt" in sys.modules or _MARK in sys.modules:
        return
    sys.modules[_MARK] = None  # type: ignore[assignment]  # an import of it now fails
    try:
        import dagster_dbt  # noqa: F401
    finally:
        del sys.modules[_MARK]


_import_dagster_dbt()
