with source as (
    select * from {{ source("raw", "cask_gauges") }}
)

select
    cast(gauge_id as varchar) as gauge_id,
    cast(cask_id as varchar) as cask_id,
    cast(gauged_on as date) as gauged_on,
    cast(bulk_litres as numeric(18, 2)) as bulk_litres,
    cast(abv_pct as numeric(5, 2)) as abv_pct,
    cast(lpa as numeric(18, 2)) as lpa,
    cast(loaded_at as timestamp) as loaded_at
from source
