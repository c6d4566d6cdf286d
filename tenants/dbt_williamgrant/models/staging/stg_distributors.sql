with source as (
    select * from {{ source("raw", "distributors") }}
)

select
    cast(distributor_id as varchar) as distributor_id,
    cast(distributor_name as varchar) as distributor_name,
    cast(market_code as varchar) as market_code,
    cast(tier as varchar) as tier,
    cast(appointed_on as date) as appointed_on,
    cast(target_stock_days as integer) as target_stock_days,
    cast(payment_terms_days as integer) as payment_terms_days
from source
