"""How many runs of a tenant may execute at once: the limits of the tenants' pools."""

from collections.abc import Mapping

from dagster import DagsterInstance


def set_pool_limits(instance: DagsterInstance, limits: Mapping[str, int]) -> None:
    """Make these the limits of these pools; those of other pools stay as they are.

    Args:
        instance: the instance; its default limit is what counts for a pool that has none.
        limits: a number of runs for each pool.
    """
    storage = instance.event_log_storage
    known = {it.name: it.limit for it in storage.get_pool_limits() if not it.from_default}
    for pool, limit in limits.items():
        if known.get(pool) != limit:
            storage.set_concurrency_slots(pool, limit)
