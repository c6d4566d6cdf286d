with sold as (
    select
        depletions.market_code,
        depletions.channel_code,
        months.calendar_year,
        sum(depletions.nine_litre_cases) as cases_sold,
        sum(depletions.net_sales_gbp) as sales_gbp
    from {{ ref("fct_depletions") }} as depletions
    inner join {{ ref("dim_months") }} as months on depletions.depleted_month = months.month_start
    group by depletions.market_code, depletions.channel_code, months.calendar_year
),

totals as (
    select
        *,
        sum(cases_sold) over (partition by market_code, calendar_year) as market_cases,
        sum(sales_gbp) over (partition by market_code, calendar_year) as market_gbp
    from sold
)

select
    market_code,
    channel_code,
    calendar_year,
    cast(cases_sold as numeric(18, 4)) as nine_litre_cases,
    cast(sales_gbp as numeric(18, 4)) as net_sales_gbp,
    100 * {{ apollo.divide("cases_sold", "market_cases") }} as volume_share_pct,
    100 * {{ apollo.divide("sales_gbp", "market_gbp") }} as value_share_pct
from totals
