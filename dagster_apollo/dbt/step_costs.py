"""What Dagster computes anew for every output of a step, computed once for the step.

A tenant's build is one step with an output for each model and each test. For each of them Dagster
1.13 rebuilds sets of all of them: the keys of the step's assets (`get_output_asset_keys`, which
rebuilds the set of all keys once more for each output), and the keys of all checks
(`AssetCheckResult.to_asset_check_evaluation`). None of them changes while the step runs. The first
alone made a run's cost grow with the cube of its nodes. Beside them it makes two classes of named
tuple for each output, for the resources of its type and of its I/O manager, which have none
(`ScopedResourcesBuilder.build`), and looks the step's op up in the job's graph, a dozen times.

Only the objects of the run at hand are changed, never a class of Dagster's. Where a name has
moved, the step runs as stock Dagster runs it, and says so once.
"""

import functools
import logging
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from typing import Any, Final

from dagster import (
    AssetCheckEvaluation,
    AssetCheckKey,
    AssetCheckResult,
    AssetExecutionContext,
    Output,
)
from dagster import __version__ as dagster_version

_KNOWN: Final = ("1.13.",)
_log = logging.getLogger(__name__)


def is_known_dagster() -> bool:
    """Whether this is the release of Dagster that the shortcuts were written for."""
    return dagster_version.startswith(_KNOWN)


class StepCosts:
    """The shortcuts of one step.

    Args:
        context: the context of the step's asset function.
    """

    def __init__(self, context: AssetExecutionContext) -> None:
        self._outputs: dict[AssetCheckKey, str] = {}
        self._blocking: dict[AssetCheckKey, bool] = {}
        self._step: Any = None
        if not is_known_dagster():
            _log.warning("Dagster %s is not known: each output costs more", dagster_version)
            return
        try:
            self._prepare(context)
        except AttributeError as error:
            _log.warning("Dagster has moved %s: each output costs more", error.name)
            self._outputs.clear()

    def _prepare(self, context: AssetExecutionContext) -> None:
        step: Any = context.op_execution_context._step_execution_context
        layer = step.job_def.asset_layer
        assets = context.assets_def
        computation: Any = assets._computation
        for spec in assets.node_check_specs_by_output_name.values():
            self._blocking[spec.key] = spec.blocking
        for key in computation.check_keys_by_output_name.values():
            if key in assets.check_keys:
                self._outputs[key] = layer.get_op_output_name(key)
        remember(step, "get_output_asset_keys")
        remember(step, "for_type")
        remember(step.job_def, "get_node")
        remember(layer, "get_selected_entity_keys_for_node")
        _build_no_resources_once(step.scoped_resources_builder)
        self._step = step

    def events(self, event: Any) -> Iterator[Any]:  # noqa: ANN401
        """What to yield for one event of dbt's: for a check's result, what Dagster makes of it.

        Args:
            event: an Output, AssetCheckResult, AssetObservation, ...
        """
        if not isinstance(event, AssetCheckResult) or not event.asset_key or not event.check_name:
            yield event
            return
        key = AssetCheckKey(event.asset_key, event.check_name)
        if key not in self._outputs:
            yield event  # stock: it says what is wrong with it
            return
        yield Output(value=None, output_name=self._outputs[key])
        yield AssetCheckEvaluation(
            check_name=key.name,
            asset_key=key.asset_key,
            passed=event.passed,
            metadata=event.metadata,
            target_materialization_data=event._get_target_materialization_data(self._step, key),
            severity=event.severity,
            description=event.description,
            blocking=self._blocking[key],
        )


def remember(owner: Any, name: str) -> None:  # noqa: ANN401
    """Let a method of an object, and of no other, answer each question once.

    A job, and its asset layer, outlive the step: another run finds them as this one left them.
    """
    if name not in owner.__dict__:
        # the layer is a frozen record
        object.__setattr__(owner, name, functools.cache(getattr(owner, name)))


def _build_no_resources_once(builder: Any) -> None:  # noqa: ANN401
    if "build" in builder.__dict__:  # by another step of the run
        return
    build = builder.build
    nothing = build(None)

    def built(required_resource_keys: AbstractSet[str] | None) -> Any:  # noqa: ANN401
        return build(required_resource_keys) if required_resource_keys else nothing

    builder.build = built
