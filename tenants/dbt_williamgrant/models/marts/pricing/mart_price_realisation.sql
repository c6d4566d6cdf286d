with yearly as (
    select
        market_code,
        brand_id,
        calendar_year,
        sum(shipped_nine_litre_cases) as cases_shipped,
        sum(list_value_gbp) as list_gbp,
        sum(invoiced_gbp) as paid_gbp
    from {{ ref("int_market_brand_months") }}
    group by market_code, brand_id, calendar_year
),

priced as (
    select
        *,
        {{ apollo.divide("paid_gbp", "cases_shipped") }} as gbp_per_case
    from yearly
    where cases_shipped > 0
)

select
    market_code,
    brand_id,
    calendar_year,
    cast(cases_shipped as numeric(18, 4)) as nine_litre_cases,
    cast(list_gbp as numeric(18, 4)) as list_value_gbp,
    cast(paid_gbp as numeric(18, 4)) as invoiced_gbp,
    cast(list_gbp - paid_gbp as numeric(18, 4)) as discount_gbp,
    100 * {{ apollo.divide("paid_gbp", "list_gbp") }} as realisation_pct,
    gbp_per_case as invoiced_gbp_per_case,
    100 * (
        {{ apollo.divide(
            "gbp_per_case",
            "lag(gbp_per_case) over (partition by market_code, brand_id order by calendar_year)",
        ) }} - 1
    ) as invoiced_per_case_change_pct
from priced
