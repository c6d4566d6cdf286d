with rates as (
    select * from {{ ref("stg_duty_rates") }}
)

select
    duty_rate_id,
    market_code,
    category_code,
    duty_per_lpa_local,
    effective_from,
    -- Exclusive; the rate in force has no end.
    lead(effective_from) over (partition by market_code, category_code order by effective_from) as effective_to
from rates
