with stock as (
    select
        market_code,
        stock_month,
        sum(closing_nine_litre_cases) as closing_cases,
        sum(depleted_nine_litre_cases) as depleted_cases
    from {{ ref("fct_distributor_stock_monthly") }}
    group by market_code, stock_month
),

shipped as (
    select market_code, delivered_month, sum(nine_litre_cases) as shipped_cases
    from {{ ref("fct_shipments") }}
    group by market_code, delivered_month
),

targets as (
    select market_code, avg(cast(target_stock_days as double)) as target_days
    from {{ ref("stg_distributors") }}
    group by market_code
),

months as (
    select * from {{ ref("dim_months") }}
),

flows as (
    select
        stock.market_code,
        stock.stock_month,
        months.days_in_month,
        stock.closing_cases,
        stock.depleted_cases,
        coalesce(shipped.shipped_cases, 0) as shipped_cases,
        targets.target_days
    from stock
    inner join months on stock.stock_month = months.month_start
    inner join targets on stock.market_code = targets.market_code
    left join shipped
        on stock.market_code = shipped.market_code
        and stock.stock_month = shipped.delivered_month
),

-- Three months smooth the season enough to judge stock by, twelve take it out altogether.
rolling as (
    select
        *,
        sum(depleted_cases) over (
            partition by market_code order by stock_month rows between 2 preceding and current row
        ) as depleted_cases_3m,
        sum(days_in_month) over (
            partition by market_code order by stock_month rows between 2 preceding and current row
        ) as days_3m,
        sum(shipped_cases) over (
            partition by market_code order by stock_month rows between 11 preceding and current row
        ) as shipped_cases_12m,
        sum(depleted_cases) over (
            partition by market_code order by stock_month rows between 11 preceding and current row
        ) as depleted_cases_12m
    from flows
),

measured as (
    select
        *,
        {{ apollo.divide("closing_cases", apollo.divide("depleted_cases_3m", "days_3m")) }} as cover_days
    from rolling
)

select
    market_code,
    stock_month,
    cast(shipped_cases as numeric(18, 4)) as shipped_nine_litre_cases,
    cast(depleted_cases as numeric(18, 4)) as depleted_nine_litre_cases,
    cast(closing_cases as numeric(18, 4)) as closing_nine_litre_cases,
    {{ apollo.divide("shipped_cases_12m", "depleted_cases_12m") }} as shipments_to_depletions_12m,
    cover_days as stock_days,
    target_days as target_stock_days,
    case
        when cover_days is null then 'no sales'
        when cover_days > target_days * 1.25 then 'over'
        when cover_days < target_days * 0.75 then 'under'
        else 'in range'
    end as stock_status
from measured
