with lines as (
    select * from {{ ref("stg_shipment_lines") }}
),

shipments as (
    select * from {{ ref("stg_shipments") }}
    -- A cancelled order has lines too; it never left.
    where status = 'delivered'
),

distributors as (
    select * from {{ ref("stg_distributors") }}
),

expressions as (
    select * from {{ ref("int_expressions_enriched") }}
),

fx_rates as (
    select * from {{ ref("stg_fx_rates") }}
),

prices as (
    select * from {{ ref("int_price_periods") }}
),

joined as (
    select
        lines.shipment_line_id,
        lines.shipment_id,
        shipments.distributor_id,
        distributors.market_code,
        lines.expression_id,
        expressions.brand_id,
        shipments.shipped_on,
        shipments.delivered_on,
        {{ apollo.month_of("shipments.delivered_on") }} as delivered_month,
        lines.bottles,
        {{ apollo.nine_litre_cases("lines.bottles", "expressions.bottle_ml") }} as nine_litre_cases,
        {{ apollo.pure_alcohol_litres("lines.bottles", "expressions.bottle_ml", "expressions.abv_pct") }}
            as pure_alcohol_litres,
        lines.unit_price_local,
        prices.list_price_per_bottle,
        fx_rates.gbp_per_unit,
        lines.loaded_at
    from lines
    inner join shipments on lines.shipment_id = shipments.shipment_id
    inner join distributors on shipments.distributor_id = distributors.distributor_id
    inner join expressions on lines.expression_id = expressions.expression_id
    left join fx_rates
        on lines.currency_code = fx_rates.currency_code
        and {{ apollo.month_of("shipments.delivered_on") }} = fx_rates.month_start
    left join prices
        on lines.expression_id = prices.expression_id
        and distributors.market_code = prices.market_code
        and shipments.shipped_on >= prices.valid_from
        and (shipments.shipped_on < prices.valid_to or prices.valid_to is null)
)

select
    shipment_line_id,
    shipment_id,
    distributor_id,
    market_code,
    expression_id,
    brand_id,
    shipped_on,
    delivered_on,
    delivered_month,
    bottles,
    nine_litre_cases,
    pure_alcohol_litres,
    cast(bottles * cast(unit_price_local as double) * cast(gbp_per_unit as double) as numeric(18, 4)) as invoiced_gbp,
    cast(bottles * cast(list_price_per_bottle as double) * cast(gbp_per_unit as double) as numeric(18, 4))
        as list_value_gbp,
    loaded_at
from joined
