with source as (
    select * from {{ source("raw", "volume_targets") }}
)

select
    cast(market_code as varchar) as market_code,
    cast(brand_id as varchar) as brand_id,
    cast(target_year as integer) as target_year,
    cast(target_nine_litre_cases as numeric(18, 2)) as target_nine_litre_cases
from source
