"""Runs carry who launched and who ended them, in tags that nobody else can set.

The tag of a launch is set where runs are created, and nowhere else. Dagster creates runs in several
ways (new ones, several at once, re-executions that inherit tags, backfills whose runs the daemon
creates later). All end in the run storage of this process, so its two methods that add something
are what sets the tag.
"""

import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

from dagster import DagsterInstance, DagsterRun, RunsFilter
from dagster._core.execution.backfill import PartitionBackfill
from dagster._core.storage.dagster_run import NOT_FINISHED_STATUSES
from dagster._core.storage.tags import BACKFILL_ID_TAG
from sqlalchemy.exc import SQLAlchemyError

OWN_TAGS: Final = "apollo/"
"""What the names of Apollo's own tags begin with: a client cannot set one."""
LAUNCHED_BY: Final = "apollo/launched_by"
TERMINATED_BY: Final = "apollo/terminated_by"
_NOT_INHERITED: Final = frozenset(
    {LAUNCHED_BY, TERMINATED_BY, "apollo/interrupted", "apollo/resumed"}
)
"""Tags that say what became of a run, and must not pass to its re-execution."""
_log = logging.getLogger("apollo.web")
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


def tag_terminated(instance: DagsterInstance, run_ids: Iterable[str], name: str) -> None:
    """Let runs that somebody has ended carry their name."""
    for run_id in dict.fromkeys(run_ids):
        try:
            instance.add_run_tags(run_id, {TERMINATED_BY: name})
        except SQLAlchemyError as error:  # the audit log has the name, too
            _log.warning("A run does not carry who ended it (%s)", type(error).__name__)


def tag_cancelled(instance: DagsterInstance, backfill_id: str, name: str) -> None:
    """Let the runs of a backfill that somebody cancels carry their name: the daemon ends them."""
    unfinished = RunsFilter(tags={BACKFILL_ID_TAG: backfill_id}, statuses=NOT_FINISHED_STATUSES)
    try:
        runs = instance.get_run_ids(unfinished)
    except SQLAlchemyError as error:
        _log.warning("A backfill's runs do not carry who ended it (%s)", type(error).__name__)
        return
    tag_terminated(instance, runs, name)
