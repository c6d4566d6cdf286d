with distributors as (
    select * from {{ ref("stg_distributors") }}
),

markets as (
    select * from {{ ref("markets") }}
),

reporting as (
    select * from {{ ref("int_reporting_date") }}
)

select
    distributors.distributor_id,
    distributors.distributor_name,
    distributors.market_code,
    cast(markets.market_name as varchar) as market_name,
    cast(markets.region as varchar) as region,
    distributors.tier,
    distributors.appointed_on,
    {{ apollo.completed_years("distributors.appointed_on", "reporting.as_of_date") }} as years_appointed,
    distributors.target_stock_days,
    distributors.payment_terms_days
from distributors
inner join markets on distributors.market_code = markets.market_code
cross join reporting
