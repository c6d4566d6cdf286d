"""What Dagster computes anew for every output of a step when it plans a run, computed once.

Each run is planned where it is created and where it executes. For each output of a step Dagster
1.13 makes the set of all keys of the step (`create_step_outputs`), so that a plan's cost grows with
the square of its nodes: two thirds of it at 4,000. Where a name has moved, Dagster's own function
stays.
"""

import functools
from typing import Any, Final

from dagster._core.execution.plan import plan

from dagster_apollo.dbt.step_costs import is_known_dagster, remember

_CREATE: Final = "create_step_outputs"


def plan_in_proportion() -> None:
    """Let this process plan runs at a cost in proportion to their nodes; a second call is none."""
    create = getattr(plan, _CREATE, None)
    if create is None or hasattr(create, "__wrapped__"):
        return

    @functools.wraps(create)
    def created(node: Any, handle: Any, config: Any, asset_layer: Any) -> Any:  # noqa: ANN401
        if is_known_dagster():
            remember(asset_layer, "get_selected_entity_keys_for_node")
        return create(node, handle, config, asset_layer)

    setattr(plan, _CREATE, created)
