-- A year to date is compared with the same months of the year before, never with the whole of it.
with brand_months as (
    select
        brand_id,
        calendar_year,
        month_start,
        sum(depleted_nine_litre_cases) as cases_sold,
        sum(net_sales_gbp) as sales_gbp
    from {{ ref("int_market_brand_months") }}
    group by brand_id, calendar_year, month_start
),

paired as (
    select
        this_year.brand_id,
        this_year.calendar_year,
        this_year.month_start,
        this_year.cases_sold,
        this_year.sales_gbp,
        last_year.cases_sold as prior_cases,
        last_year.sales_gbp as prior_gbp
    from brand_months as this_year
    left join brand_months as last_year
        on this_year.brand_id = last_year.brand_id
        and last_year.month_start = {{ apollo.add_years(-1, "this_year.month_start") }}
),

yearly as (
    select
        brand_id,
        calendar_year,
        count(*) as months,
        sum(cases_sold) as cases_sold,
        sum(sales_gbp) as sales_gbp,
        sum(prior_cases) as prior_cases,
        sum(prior_gbp) as prior_gbp
    from paired
    group by brand_id, calendar_year
),

priced as (
    select
        *,
        {{ apollo.divide("sales_gbp", "cases_sold") }} as gbp_per_case,
        {{ apollo.divide("prior_gbp", "prior_cases") }} as prior_gbp_per_case
    from yearly
)

select
    brand_id,
    calendar_year,
    cast(months as integer) as months_covered,
    cast(cases_sold as numeric(18, 4)) as nine_litre_cases,
    cast(prior_cases as numeric(18, 4)) as prior_year_nine_litre_cases,
    100 * ({{ apollo.divide("cases_sold", "prior_cases") }} - 1) as volume_change_pct,
    cast(sales_gbp as numeric(18, 4)) as net_sales_gbp,
    cast(prior_gbp as numeric(18, 4)) as prior_year_net_sales_gbp,
    100 * ({{ apollo.divide("sales_gbp", "prior_gbp") }} - 1) as value_change_pct,
    gbp_per_case as net_sales_gbp_per_case,
    100 * ({{ apollo.divide("gbp_per_case", "prior_gbp_per_case") }} - 1) as price_mix_change_pct
from priced
