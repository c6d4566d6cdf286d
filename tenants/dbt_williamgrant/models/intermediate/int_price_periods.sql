with prices as (
    select * from {{ ref("stg_price_list") }}
)

select
    price_id,
    expression_id,
    market_code,
    currency_code,
    list_price_per_bottle,
    valid_from,
    -- Exclusive; the price in force has no end.
    lead(valid_from) over (partition by expression_id, market_code order by valid_from) as valid_to,
    updated_at
from prices
