"""Code locations of several tenants, each with all that there is of one in the API."""

from dagster import (
    AssetCheckResult,
    AssetKey,
    AssetsDefinition,
    Definitions,
    JobDefinition,
    MaterializeResult,
    ResourceDefinition,
    ScheduleDefinition,
    asset,
    asset_check,
    define_asset_job,
    in_process_executor,
    job,
    op,
    sensor,
)


def orders(tenant: str, upstream: list[AssetKey]) -> AssetsDefinition:
    @asset(
        key_prefix=[tenant],
        name="orders",
        deps=upstream,
        group_name=f"{tenant}_marts",
        description=f"Orders of {tenant}.",
        owners=[f"team:{tenant}"],
        tags={"of": tenant},
        metadata={"of": tenant},
        required_resource_keys={f"{tenant}_dbt"},
        pool=f"{tenant}_pool",
        op_tags={"of": tenant},
    )
    def _orders() -> MaterializeResult:
        print(f"orders of {tenant} were built")
        return MaterializeResult(metadata={"rows": f"{tenant} has 3"})

    return _orders


def of_tenant(tenant: str, *upstream: AssetKey) -> Definitions:
    tags = {"apollo/tenant": tenant}
    built = orders(tenant, list(upstream))

    @asset_check(asset=built.key, name=f"{tenant}_orders_are_there", description=f"Of {tenant}.")
    def _check() -> AssetCheckResult:
        return AssetCheckResult(passed=False, metadata={"why": f"{tenant} has none"})

    @op(name=f"{tenant}_freshness_op", required_resource_keys={f"{tenant}_dbt"})
    def _freshen() -> None:
        print(f"{tenant} is fresh")

    @job(name=f"{tenant}_source_freshness", tags=tags, description=f"Of {tenant}.")
    def _freshness() -> None:
        _freshen()

    build = define_asset_job(f"{tenant}_build", [built], tags=tags, description=f"Of {tenant}.")
    return Definitions(
        assets=[built],
        asset_checks=[_check],
        jobs=[build, _freshness],
        schedules=[
            ScheduleDefinition(
                name=f"{tenant}_build_schedule", job=build, cron_schedule="0 3 * * *"
            )
        ],
        sensors=[_sensor(tenant, _freshness)],
        resources={f"{tenant}_dbt": ResourceDefinition.hardcoded_resource(tenant)},
    )


def _sensor(tenant: str, target: JobDefinition) -> object:
    @sensor(name=f"{tenant}_watch", job=target)
    def _watch() -> None:
        return None

    return _watch


shared = Definitions.merge(
    of_tenant("acme", AssetKey(["globex", "orders"])),
    of_tenant("globex"),
    of_tenant("hooli", AssetKey(["acme", "orders"])),
    Definitions(executor=in_process_executor),
)
apart = of_tenant("initech")
