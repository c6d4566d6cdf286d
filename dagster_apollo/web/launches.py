"""Runs carry who launched them: a tag that is set where runs are created, and nowhere else.

Dagster creates runs in several ways (new ones, several at once, re-executions that inherit tags,
backfills whose runs the daemon creates later). All end in the run storage of this process, so its
two methods that add something are what sets the tag.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

from dagster import DagsterInstance, DagsterRun
from dagster._core.execution.backfill import PartitionBackfill

OWN_TAGS: Final = "apollo/"
"""What the names of Apollo's own tags begin with: a client cannot set one."""
LAUNCHED_BY: Final = "apollo/launched_by"
TERMINATED_BY: Final = "apollo/terminated_by"
_NOT_INHERITED: Final = frozenset({LAUNCHED_BY, TERMINATED_BY, "apollo/interrupted"})
"""Tags that say what became of a run, and must not pass to its re-execution."""
_launcher: ContextVar[str | None] = ContextVar("apollo_launcher", default=None)


@contextmanager
def launched_by(name: str | None) -> Iterator[None]:
    """Let runs and backfills that are created in the block carry a user's name."""
    token = _launcher.set(name)
    try:
        yield
    finally:
        _launcher.reset(token)


def stamped(tags: Mapping[str, str], name: str) -> dict[str, str]:
    """The tags of a run that somebody launches."""
    kept = {key: value for key, value in tags.items() if key not in _NOT_INHERITED}
    return {**kept, LAUNCHED_BY: name}


def stamp_launches(instance: DagsterInstance) -> None:
    """Have an instance's run storage set the tag on whatever is added in `launched_by`."""
    storage = instance.run_storage
    add_run, add_backfill = storage.add_run, storage.add_backfill

    def add_stamped_run(dagster_run: DagsterRun) -> DagsterRun:
        name = _launcher.get()
        return add_run(
            dagster_run.with_tags(stamped(dagster_run.tags, name)) if name else dagster_run
        )

    def add_stamped_backfill(partition_backfill: PartitionBackfill) -> None:
        name = _launcher.get()
        add_backfill(
            partition_backfill._replace(tags=stamped(partition_backfill.tags, name))
            if name
            else partition_backfill
        )

    storage.add_run = add_stamped_run  # type: ignore[method-assign]
    storage.add_backfill = add_stamped_backfill  # type: ignore[method-assign]
