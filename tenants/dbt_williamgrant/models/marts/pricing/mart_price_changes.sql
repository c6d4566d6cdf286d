-- From the snapshot, so that a price which was corrected in the source later still shows as it was announced.
with versions as (
    select
        *,
        row_number() over (partition by price_id order by dbt_valid_from) as price_version,
        count(*) over (partition by price_id) as version_count
    from {{ ref("snap_price_list") }}
),

current_prices as (
    select * from versions
    where price_version = version_count
),

compared as (
    select
        *,
        lag(list_price_per_bottle) over (
            partition by expression_id, market_code order by valid_from
        ) as previous_price
    from current_prices
)

select
    price_id,
    expression_id,
    market_code,
    currency_code,
    valid_from,
    cast(list_price_per_bottle as numeric(18, 4)) as list_price_per_bottle,
    cast(previous_price as numeric(18, 4)) as previous_list_price_per_bottle,
    100 * ({{ apollo.divide("list_price_per_bottle", "previous_price") }} - 1) as change_pct,
    cast(version_count - 1 as integer) as times_corrected
from compared
