with source as (
    select * from {{ source("raw", "price_list") }}
)

select
    cast(price_id as varchar) as price_id,
    cast(expression_id as varchar) as expression_id,
    cast(market_code as varchar) as market_code,
    cast(currency_code as varchar) as currency_code,
    cast(list_price_per_bottle as numeric(18, 4)) as list_price_per_bottle,
    cast(valid_from as date) as valid_from,
    cast(updated_at as timestamp) as updated_at
from source
