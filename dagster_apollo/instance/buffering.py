"""Writing a run's events in batches."""

from contextlib import AbstractContextManager, nullcontext

from dagster import DagsterInstance


def event_buffering(instance: DagsterInstance, run_id: str) -> AbstractContextManager[None]:
    """Let events of a run that this process executes wait for one another while this is active.

    They are written once there are 250 of them or half a second is over, before anything of the
    event log is read through this instance, together with the next event that says how the run or a
    step is doing, and at the end of the context. Where the storage cannot do that (SQLite, or a
    version of Dagster that is not known), this does nothing.

    While the database is away, the run goes on: events wait in memory, then on disk. The end of the
    context waits for the database.

    Args:
        instance: the run's instance, such as `context.instance`.
        run_id: the run.

    Returns:
        A context. At its end it raises StorageUnavailableError where the database stayed away, and
        whatever the database had against one of the events.
    """
    buffering = getattr(instance.event_log_storage, "buffering", None)
    return buffering(run_id) if buffering else nullcontext()
