-- For each brand and age: what comes of age against what last year's sales, grown, would take.
with supply as (
    select * from {{ ref("mart_coming_of_age") }}
),

reporting as (
    select
        {{ apollo.year_of("as_of_date") }} as this_year,
        {{ apollo.add_months(-11, apollo.month_of("as_of_date")) }} as first_month
    from {{ ref("int_reporting_date") }}
),

sold as (
    select
        expressions.brand_id,
        -- A bottle without an age statement draws on the youngest casks that its brand lays down for it.
        coalesce(expressions.age_statement_years, youngest.target_age_years) as target_age_years,
        sum(depletions.pure_alcohol_litres) as lpa_12m
    from {{ ref("int_depletions_converted") }} as depletions
    inner join {{ ref("int_expressions_enriched") }} as expressions
        on depletions.expression_id = expressions.expression_id
    inner join (
        select brand_id, min(target_age_years) as target_age_years
        from {{ ref("stg_casks") }}
        group by brand_id
    ) as youngest on expressions.brand_id = youngest.brand_id
    cross join reporting
    where depletions.depleted_month >= reporting.first_month
        -- White rum and the like never wait in wood.
        and expressions.minimum_age_years > 0
    group by expressions.brand_id, coalesce(expressions.age_statement_years, youngest.target_age_years)
),

years_ahead as (
    {{ apollo.whole_numbers_to(var("outlook_years"), "ahead") }}
),

outlook as (
    select
        sold.brand_id,
        sold.target_age_years,
        reporting.this_year + years_ahead.ahead as outlook_year,
        coalesce(supply.casks, 0) as casks,
        coalesce(supply.projected_lpa, 0) as supply_lpa,
        cast(
            cast(sold.lpa_12m as double) * power(1 + {{ var("demand_growth_pct") }} / 100.0, years_ahead.ahead)
            as numeric(18, 4)
        ) as demand_lpa
    from sold
    cross join reporting
    cross join years_ahead
    left join supply
        on sold.brand_id = supply.brand_id
        and sold.target_age_years = supply.target_age_years
        and reporting.this_year + years_ahead.ahead = supply.available_year
),

balanced as (
    select
        *,
        sum(supply_lpa - demand_lpa) over (
            partition by brand_id, target_age_years
            order by outlook_year
            rows between unbounded preceding and current row
        ) as running_balance
    from outlook
)

select
    brand_id,
    cast(target_age_years as integer) as target_age_years,
    cast(outlook_year as integer) as outlook_year,
    cast(casks as integer) as casks,
    cast(supply_lpa as numeric(18, 4)) as supply_lpa,
    cast(demand_lpa as numeric(18, 4)) as demand_lpa,
    cast(supply_lpa - demand_lpa as numeric(18, 4)) as balance_lpa,
    cast(running_balance as numeric(18, 4)) as cumulative_balance_lpa,
    coalesce(running_balance < 0, false) as is_short
from balanced
