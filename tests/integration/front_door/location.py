"""A code location that has one of everything that a mutation can be about."""

from dagster import (
    DailyPartitionsDefinition,
    Definitions,
    ScheduleDefinition,
    asset,
    define_asset_job,
    job,
    op,
    sensor,
)


@asset
def customers() -> int:
    print("customers were built")
    return 1


@asset(partitions_def=DailyPartitionsDefinition("2026-01-01", end_date="2026-01-10"))
def orders() -> int:
    return 1


@op
def say() -> None:
    print("said")


@job(tags={"apollo/tenant": "acme"})
def talk() -> None:
    say()


@sensor(job=talk, name="watch")
def watch() -> None:
    return None


defs = Definitions(
    assets=[customers, orders],
    jobs=[talk, define_asset_job("daily", [orders])],
    schedules=[ScheduleDefinition(name="nightly", job=talk, cron_schedule="0 3 * * *")],
    sensors=[watch],
)
