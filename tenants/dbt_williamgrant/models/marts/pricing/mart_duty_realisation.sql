with yearly as (
    select
        market_code,
        brand_id,
        calendar_year,
        sum(depleted_nine_litre_cases) as cases_sold,
        sum(net_sales_gbp) as sales_gbp,
        sum(duty_gbp) as tax_gbp
    from {{ ref("int_market_brand_months") }}
    group by market_code, brand_id, calendar_year
)

select
    market_code,
    brand_id,
    calendar_year,
    cast(cases_sold as numeric(18, 4)) as nine_litre_cases,
    cast(sales_gbp as numeric(18, 4)) as net_sales_gbp,
    cast(tax_gbp as numeric(18, 4)) as duty_gbp,
    cast(sales_gbp - tax_gbp as numeric(18, 4)) as net_of_duty_gbp,
    100 * {{ apollo.divide("tax_gbp", "sales_gbp") }} as duty_share_pct,
    {{ apollo.divide("sales_gbp - tax_gbp", "cases_sold") }} as net_of_duty_gbp_per_case
from yearly
where cases_sold > 0
