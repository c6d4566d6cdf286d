with markets as (
    select * from {{ ref("markets") }}
),

distributors as (
    select market_code, count(*) as distributors
    from {{ ref("stg_distributors") }}
    group by market_code
)

select
    cast(markets.market_code as varchar) as market_code,
    cast(markets.market_name as varchar) as market_name,
    cast(markets.region as varchar) as region,
    cast(markets.currency_code as varchar) as currency_code,
    cast(markets.is_duty_free as boolean) as is_duty_free,
    cast(coalesce(distributors.distributors, 0) as integer) as distributor_count
from markets
left join distributors on markets.market_code = distributors.market_code
