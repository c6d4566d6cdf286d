-- What a scorecard needs of each distributor, over the twelve months to the reporting date.
with reporting as (
    select
        {{ apollo.month_of("as_of_date") }} as this_month,
        {{ apollo.add_months(-11, apollo.month_of("as_of_date")) }} as first_month,
        {{ apollo.add_months(-23, apollo.month_of("as_of_date")) }} as prior_first_month
    from {{ ref("int_reporting_date") }}
),

sold as (
    select
        depletions.distributor_id,
        sum(case when depletions.depleted_month >= reporting.first_month then depletions.nine_litre_cases else 0 end)
            as cases_12m,
        sum(case when depletions.depleted_month < reporting.first_month then depletions.nine_litre_cases else 0 end)
            as prior_cases_12m
    from {{ ref("int_depletions_converted") }} as depletions
    cross join reporting
    where depletions.depleted_month between reporting.prior_first_month and reporting.this_month
    group by depletions.distributor_id
),

bought as (
    select
        lines.distributor_id,
        sum(lines.invoiced_gbp) as invoiced_gbp_12m,
        sum(lines.list_value_gbp) as list_value_gbp_12m
    from {{ ref("int_shipment_lines_converted") }} as lines
    cross join reporting
    where lines.delivered_month between reporting.first_month and reporting.this_month
    group by lines.distributor_id
),

held as (
    select
        stock.distributor_id,
        sum({{ apollo.nine_litre_cases("stock.closing_bottles", "expressions.bottle_ml") }}) as closing_cases
    from {{ ref("int_distributor_stock_monthly") }} as stock
    inner join {{ ref("int_expressions_enriched") }} as expressions
        on stock.expression_id = expressions.expression_id
    cross join reporting
    where stock.stock_month = reporting.this_month
    group by stock.distributor_id
),

distributors as (
    select * from {{ ref("stg_distributors") }}
),

service as (
    select * from {{ ref("int_distributor_service") }}
)

select
    distributors.distributor_id,
    distributors.market_code,
    distributors.target_stock_days,
    cast(coalesce(sold.cases_12m, 0) as numeric(18, 4)) as nine_litre_cases_12m,
    100 * ({{ apollo.divide("sold.cases_12m", "sold.prior_cases_12m") }} - 1) as volume_growth_pct,
    {{ apollo.divide("held.closing_cases", apollo.divide("sold.cases_12m", "365")) }} as stock_days,
    100 * {{ apollo.divide("service.on_time_deliveries_12m", "service.deliveries_12m") }} as on_time_pct,
    100 * {{ apollo.divide("bought.invoiced_gbp_12m", "bought.list_value_gbp_12m") }} as price_realisation_pct,
    service.average_lead_time_days
from distributors
left join sold on distributors.distributor_id = sold.distributor_id
left join bought on distributors.distributor_id = bought.distributor_id
left join held on distributors.distributor_id = held.distributor_id
left join service on distributors.distributor_id = service.distributor_id
