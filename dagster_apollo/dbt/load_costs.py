"""What Dagster looks up anew for each output and input of a tenant's op, saved while it is made.

Dagster 1.13 resolves the type of each, some five for each model, by comparing it with all that a
type may be made from; it is a type already. Where a name has moved, Dagster's own function stays.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, Final

from dagster import DagsterType
from dagster._core.definitions import input as inputs
from dagster._core.definitions import output as outputs

_RESOLVE: Final = "resolve_dagster_type"


@contextlib.contextmanager
def types_taken_as_they_are() -> Iterator[None]:
    """Let Dagster take for an output's or input's type what is one."""
    found = [(module, getattr(module, _RESOLVE, None)) for module in (inputs, outputs)]
    for module, resolve in found:
        if resolve is not None:
            setattr(module, _RESOLVE, _shortened(resolve))
    try:
        yield
    finally:
        for module, resolve in found:
            if resolve is not None:
                setattr(module, _RESOLVE, resolve)


def _shortened(resolve: Callable[[Any], DagsterType]) -> Callable[[Any], DagsterType]:
    def resolved(given: Any) -> DagsterType:  # noqa: ANN401
        return given if isinstance(given, DagsterType) else resolve(given)

    return resolved
