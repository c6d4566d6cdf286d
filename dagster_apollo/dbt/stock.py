"""What Apollo uses of dagster-dbt, imported without the dbt that dagster-dbt would import.

dagster-dbt imports dbt-core and the base of the adapters for a few constants, which costs every
process more than a second and 50 MB; where dbt-core is not installed, it has the constants itself
(dagster_dbt.compat, 0.29). Apollo's dbt runs in a process of its own. What needs dbt's code here,
which is a selection other than "all", says so (selection.py).
"""

import sys
from typing import Final

from dagster_apollo.dbt.deferred import imported_later, resolve_on_access

_DBT: Final = "dbt"
_UNUSED: Final = (
    "dagster_dbt.cloud",
    "dagster_dbt.cloud_v2",
    "dagster_dbt.cloud_v2.component",
    "dagster_dbt.components.dbt_project.component",
    "sqlglot",
    "sqlglot.expressions",
    "sqlglot.lineage",
    "sqlglot.optimizer",
)
"""What dagster-dbt 0.29 imports beside, see deferred.py."""

_hides_dbt: Final = _DBT not in sys.modules and "dagster_dbt" not in sys.modules
if _hides_dbt:
    sys.modules[_DBT] = None  # type: ignore[assignment]  # an import of it now fails
try:
    with imported_later(_UNUSED):
        from dagster_dbt import (
            DagsterDbtTranslator,
            DagsterDbtTranslatorSettings,
            DbtCliInvocation,
            DbtCliResource,
            DbtProject,
            asset_utils,
            build_schedule_from_dbt_selection,
            dbt_assets,
            utils,
        )
        from dagster_dbt import __version__ as dagster_dbt_version
        from dagster_dbt.asset_utils import (
            get_asset_check_key_for_test,
            get_dbt_test_names_for_check_keys,
            get_subset_selection_for_context,
        )
        from dagster_dbt.core.dbt_event_iterator import DbtDagsterEventType
        from dagster_dbt.dagster_dbt_translator import DbtManifestWrapper
        from dagster_dbt.dbt_manifest import DbtManifestParam, validate_manifest
        from dagster_dbt.dbt_project import DbtProjectPreparer
finally:
    if _hides_dbt:
        del sys.modules[_DBT]
resolve_on_access(sys.modules["dagster_dbt"])

# where something else imported dagster-dbt before (`dg` does), it would select all nodes by dbt's
# own code, from what is only a digest of the manifest; without dbt it takes them as they are
setattr(utils, "DBT_PYTHON_VERSION", None)  # noqa: B010

__all__ = [
    "DagsterDbtTranslator",
    "DagsterDbtTranslatorSettings",
    "DbtCliInvocation",
    "DbtCliResource",
    "DbtDagsterEventType",
    "DbtManifestParam",
    "DbtManifestWrapper",
    "DbtProject",
    "DbtProjectPreparer",
    "asset_utils",
    "build_schedule_from_dbt_selection",
    "dagster_dbt_version",
    "dbt_assets",
    "get_asset_check_key_for_test",
    "get_dbt_test_names_for_check_keys",
    "get_subset_selection_for_context",
    "utils",
    "validate_manifest",
]
