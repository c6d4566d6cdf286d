"""What people may do who are limited to tenants: run and end what is their tenants'.

A mutation works on the whole of workspace and instance, so all that it is asked to be about is
looked at before. What is not among these is refused.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from dagster_graphql.implementation.utils import pipeline_selector_from_graphql

from dagster_apollo.web.context import RoleRequestContext
from dagster_apollo.web.limits.scope import NotForLimitedError

_Look = Callable[[Mapping[str, Any], RoleRequestContext], None]
_PARENTS: Final = ("parentRunId", "rootRunId")
_METADATA: Final = frozenset({"tags", *_PARENTS})
_PARAMETERS: Final = frozenset(
    {"selector", "runConfigData", "mode", "executionMetadata", "stepKeys", "preset"}
)


def require_theirs(name: str, arguments: Mapping[str, Any], context: RoleRequestContext) -> None:
    """Look at what a mutation of limited people is about.

    Raises:
        NotForLimitedError: something of it is not theirs, or nobody knows whose it would be.
    """
    look = LOOKS.get(name)
    if look is None:
        raise NotForLimitedError(name)
    look(arguments, context)


def _nothing(_arguments: Mapping[str, Any], _context: RoleRequestContext) -> None:
    """It is about nobody's things."""


def _runs(arguments: Mapping[str, Any], context: RoleRequestContext) -> None:
    run_ids = [arguments["runId"]] if "runId" in arguments else arguments["runIds"]
    _require_runs(run_ids, context)


def _launch(arguments: Mapping[str, Any], context: RoleRequestContext) -> None:
    for params in _executions(arguments):
        _require_execution(params, context)


def _repetition(arguments: Mapping[str, Any], context: RoleRequestContext) -> None:
    if (params := arguments.get("reexecutionParams")) is not None:
        _require_runs([params["parentRunId"]], context)
    _launch(arguments, context)
    if not any(arguments.values()):
        raise NotForLimitedError("Repeating nothing")


def _executions(arguments: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    if (params := arguments.get("executionParams")) is not None:
        yield params
    yield from arguments.get("executionParamsList") or ()


def _require_execution(params: Mapping[str, Any], context: RoleRequestContext) -> None:
    selector = pipeline_selector_from_graphql(params["selector"])
    keys = [*(selector.asset_selection or ()), *(selector.asset_check_selection or ())]
    scope = context.scope
    if scope is None or not context.has_job(selector) or not scope.has_all(keys):
        raise NotForLimitedError("That job")
    if params.get("preset"):
        raise NotForLimitedError("A preset")
    metadata = params.get("executionMetadata") or {}
    if not (params.keys() <= _PARAMETERS and metadata.keys() <= _METADATA):
        raise NotForLimitedError("A parameter of a run that is new")
    _require_runs([metadata[it] for it in _PARENTS if metadata.get(it)], context)


def _require_runs(run_ids: list[str], context: RoleRequestContext) -> None:
    if not all(map(context.instance.has_run, run_ids)):
        raise NotForLimitedError("That run")


LOOKS: Final[Mapping[str, _Look]] = {
    "launchPipelineExecution": _launch,
    "launchRun": _launch,
    "launchMultipleRuns": _launch,
    "launchPipelineReexecution": _repetition,
    "launchRunReexecution": _repetition,
    "terminatePipelineExecution": _runs,
    "terminateRun": _runs,
    "terminateRuns": _runs,
    "logTelemetry": _nothing,
    "setNuxSeen": _nothing,
}
"""The mutations that limited people may call, and how to see that one is about what is theirs."""
