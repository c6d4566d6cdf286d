"""What a mutation is about, and what came of it: the words of the audit log, all pure functions."""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

_TARGETS: Final = frozenset(
    {
        "runId",
        "runIds",
        "parentRunId",
        "backfillId",
        "pipelineName",
        "jobName",
        "scheduleName",
        "scheduleOriginId",
        "scheduleSelectorId",
        "sensorName",
        "jobOriginId",
        "jobSelectorId",
        "id",
        "partitionSetName",
        "partitionsDefName",
        "concurrencyKey",
        "checkName",
        "stepKey",
        "stepKeys",
        "locationName",
        "componentId",
        "defsStateKey",
    }
)
"""The arguments, wherever they lie, that say what a mutation is about."""
_LOCATION: Final = "repositoryLocationName"
"""The location that a mutation is about; within a selector it only says where something else is."""
_PARTITIONS: Final = frozenset({"partitionKey", "partitionKeys", "partitionNames"})
_DETAILS: Final = frozenset({"limit", "paused", "wipeMaterializations", "allPartitions"})
_MOST_PARTITIONS: Final = 20
TAG_LISTS: Final = frozenset({"tags", "extraTags"})
NOT_APOLLO_S: Final = frozenset({"runConfigData"})
"""Arguments that only the job understands; they may hold secrets."""
_SUCCESSES: Final = frozenset(
    {
        "LaunchRunSuccess",
        "LaunchMultipleRunsResult",
        "LaunchBackfillSuccess",
        "ResumeBackfillSuccess",
        "CancelBackfillSuccess",
        "TerminateRunSuccess",
        "TerminateRunsResult",
        "DeletePipelineRunSuccess",
        "ScheduleStateResult",
        "Sensor",
        "StopSensorMutationResult",
        "DryRunInstigationTick",
        "Workspace",
        "WorkspaceLocationEntry",
        "ShutdownRepositoryLocationSuccess",
        "AssetWipeSuccess",
        "ReportRunlessAssetEventsSuccess",
        "ReportAssetCheckEvaluationsSuccess",
        "AddDynamicPartitionSuccess",
        "DeleteDynamicPartitionsSuccess",
        "SetAppManagedComponentSuccess",
        "DeleteAppManagedComponentSuccess",
        "RefreshComponentStateSuccess",
        "RefreshComponentStateAccepted",
        "LogTelemetrySuccess",
    }
)
"""The results of Dagster 1.13.27 that say that something was done."""
_SEVERAL: Final = ("launchMultipleRunsResult", "terminateRunResults")
_ATTRIBUTES: Final = ("runId", "run_id", "backfill_id")


def targets(arguments: Mapping[str, object]) -> Iterator[str]:
    """What a call's own arguments say it is about: runs, jobs, assets, and so on."""
    for name, value in arguments.items():
        if _camel(name) == _LOCATION:
            yield from _texts(value)
    yield from _targets(arguments)


def _targets(arguments: object) -> Iterator[str]:
    for name, value in _named(arguments):
        if name in _TARGETS:
            yield from _texts(value)
        elif name == "path":  # of an asset
            yield "/".join(_texts(value))
        else:
            yield from _targets(value)


def selected(root: object) -> str | None:
    """The sensor or schedule that a trial of one is about."""
    selector = getattr(root, "_selector", None)  # of GrapheneDryRunInstigationTick, 1.13.27
    return getattr(selector, "sensor_name", None) or getattr(selector, "schedule_name", None)


def details(arguments: object) -> dict[str, Any]:
    """How a call's arguments say that something is to be done, as far as nothing in it is secret.

    Partitions are here: there may be thousands, which would hide what else a call is about.
    """
    found = dict(_settings(arguments))
    partitions = list(dict.fromkeys(_partitions(arguments)))
    if len(partitions) > _MOST_PARTITIONS:
        more = len(partitions) - _MOST_PARTITIONS
        partitions = [*partitions[:_MOST_PARTITIONS], f"and {more} more"]
    return found | ({"partitions": ", ".join(partitions)} if partitions else {})


def _settings(arguments: object) -> Iterator[tuple[str, Any]]:
    for name, value in _named(arguments):
        if name in _DETAILS and isinstance(value, int):
            yield name, value
        else:
            yield from _settings(value)


def _partitions(arguments: object) -> Iterator[str]:
    if isinstance(arguments, Mapping) and arguments.keys() == {"start", "end"}:
        yield f"{arguments['start']}...{arguments['end']}"
        return
    for name, value in _named(arguments):
        if name in _PARTITIONS:
            yield from _texts(value)
        else:
            yield from _partitions(value)


def _named(arguments: object) -> Iterator[tuple[str, object]]:
    """The arguments within a value, but for those whose content is not Apollo's to read."""
    if isinstance(arguments, list):
        for item in arguments:
            yield from _named(item) if isinstance(item, list) else [("", item)]
    elif isinstance(arguments, Mapping):
        for name, value in arguments.items():
            if (known := _camel(name)) not in TAG_LISTS | NOT_APOLLO_S:
                yield known, value


def _camel(name: str) -> str:
    """An argument's name in the API; Dagster's resolvers call some of them otherwise."""
    return re.sub("_([a-z])", lambda match: match[1].upper(), name)


def _texts(value: object) -> list[str]:
    if isinstance(value, str):
        return [value]
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []


def made(result: object) -> Iterator[str]:
    """The ids of the runs and backfills that a result names."""
    for item in _parts(result):
        run = getattr(item, "run", None)
        for holder in (item, run):
            for attribute in _ATTRIBUTES:
                value = getattr(holder, attribute, None)
                if isinstance(value, str):
                    yield value


def failures(result: object) -> list[str]:
    """The kinds of failure that a result says, each once; none where all was done."""
    kinds = [kind_of(part) for part in _parts(result)]
    return list(dict.fromkeys(kind for kind in kinds if kind and kind not in _SUCCESSES))


def succeeded(result: object, kind: str) -> Iterator[object]:
    """Those parts of a result that are of one kind of success."""
    return (part for part in _parts(result) if kind_of(part) == kind)


def kind_of(result: object) -> str | None:
    """A result's type in the API; an exception's class; None for what only says yes or no."""
    if result is None or isinstance(result, bool):
        return None
    return type(result).__name__.removeprefix("Graphene")


def _parts(result: object) -> Iterator[object]:
    """A result, and those within it where several things were asked for."""
    yield result
    for attribute in _SEVERAL:
        yield from getattr(result, attribute, None) or ()


def joined(names: Iterable[str]) -> str | None:
    """Names in one text, each once."""
    return ", ".join(dict.fromkeys(names)) or None
