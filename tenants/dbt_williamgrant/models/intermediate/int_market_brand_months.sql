with shipped as (
    select
        market_code,
        brand_id,
        delivered_month as month_start,
        nine_litre_cases as shipped_cases,
        invoiced_gbp as shipped_gbp,
        list_value_gbp as list_gbp,
        0 as depleted_cases,
        0 as depleted_gbp,
        0 as depleted_duty_gbp
    from {{ ref("int_shipment_lines_converted") }}
),

depleted as (
    select
        market_code,
        brand_id,
        depleted_month as month_start,
        0 as shipped_cases,
        0 as shipped_gbp,
        0 as list_gbp,
        nine_litre_cases as depleted_cases,
        net_sales_gbp as depleted_gbp,
        duty_gbp as depleted_duty_gbp
    from {{ ref("int_depletions_converted") }}
),

both_flows as (
    select * from shipped
    union all
    select * from depleted
)

select
    market_code,
    brand_id,
    month_start,
    {{ apollo.year_of("month_start") }} as calendar_year,
    cast(sum(shipped_cases) as numeric(18, 4)) as shipped_nine_litre_cases,
    cast(sum(shipped_gbp) as numeric(18, 4)) as invoiced_gbp,
    cast(sum(list_gbp) as numeric(18, 4)) as list_value_gbp,
    cast(sum(depleted_cases) as numeric(18, 4)) as depleted_nine_litre_cases,
    cast(sum(depleted_gbp) as numeric(18, 4)) as net_sales_gbp,
    cast(sum(depleted_duty_gbp) as numeric(18, 4)) as duty_gbp
from both_flows
group by market_code, brand_id, month_start
