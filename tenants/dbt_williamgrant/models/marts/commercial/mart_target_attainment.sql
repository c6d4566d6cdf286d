with targets as (
    select * from {{ ref("stg_volume_targets") }}
),

brand_months as (
    select * from {{ ref("int_market_brand_months") }}
),

reporting as (
    select
        {{ apollo.year_of("as_of_date") }} as this_year,
        {{ apollo.month_of("as_of_date") }} as this_month
    from {{ ref("int_reporting_date") }}
),

sold as (
    select market_code, brand_id, calendar_year, sum(depleted_nine_litre_cases) as cases_sold
    from brand_months
    group by market_code, brand_id, calendar_year
),

-- The season decides how much of a year's target is due by now: last year's share of the same months.
season as (
    select
        brand_months.brand_id,
        {{ apollo.divide(
            "sum(case when brand_months.month_start <= " ~ apollo.add_years(-1, "reporting.this_month")
            ~ " then brand_months.depleted_nine_litre_cases else 0 end)",
            "sum(brand_months.depleted_nine_litre_cases)",
        ) }} as share_due
    from brand_months
    cross join reporting
    where brand_months.calendar_year = reporting.this_year - 1
    group by brand_months.brand_id
),

due as (
    select
        targets.market_code,
        targets.brand_id,
        targets.target_year,
        targets.target_nine_litre_cases as full_target,
        coalesce(sold.cases_sold, 0) as cases_sold,
        case
            when targets.target_year < reporting.this_year then 1
            else coalesce(season.share_due, 1)
        end as share_due
    from targets
    cross join reporting
    left join season on targets.brand_id = season.brand_id
    left join sold
        on targets.market_code = sold.market_code
        and targets.brand_id = sold.brand_id
        and targets.target_year = sold.calendar_year
)

select
    market_code,
    brand_id,
    target_year,
    cast(full_target as numeric(18, 4)) as target_nine_litre_cases,
    cast(cast(full_target as double) * share_due as numeric(18, 4)) as target_to_date_nine_litre_cases,
    cast(cases_sold as numeric(18, 4)) as actual_nine_litre_cases,
    100 * {{ apollo.divide("cases_sold", "cast(full_target as double) * share_due") }} as attainment_pct
from due
