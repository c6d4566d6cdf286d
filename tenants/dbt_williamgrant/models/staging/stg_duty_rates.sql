with source as (
    select * from {{ source("raw", "duty_rates") }}
)

select
    cast(duty_rate_id as varchar) as duty_rate_id,
    cast(market_code as varchar) as market_code,
    cast(category_code as varchar) as category_code,
    cast(duty_per_lpa_local as numeric(18, 4)) as duty_per_lpa_local,
    cast(effective_from as date) as effective_from,
    cast(updated_at as timestamp) as updated_at
from source
