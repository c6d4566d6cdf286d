with depletions as (
    select * from {{ ref("stg_depletions") }}
),

distributors as (
    select * from {{ ref("stg_distributors") }}
),

markets as (
    select * from {{ ref("markets") }}
),

expressions as (
    select * from {{ ref("int_expressions_enriched") }}
),

fx_rates as (
    select * from {{ ref("stg_fx_rates") }}
),

duties as (
    select * from {{ ref("int_duty_periods") }}
),

joined as (
    select
        depletions.depletion_id,
        depletions.distributor_id,
        distributors.market_code,
        depletions.expression_id,
        expressions.brand_id,
        depletions.channel_code,
        depletions.depleted_on,
        {{ apollo.month_of("depletions.depleted_on") }} as depleted_month,
        depletions.bottles,
        {{ apollo.nine_litre_cases("depletions.bottles", "expressions.bottle_ml") }} as nine_litre_cases,
        {{ apollo.pure_alcohol_litres("depletions.bottles", "expressions.bottle_ml", "expressions.abv_pct") }}
            as pure_alcohol_litres,
        depletions.net_sales_local,
        duties.duty_per_lpa_local,
        fx_rates.gbp_per_unit,
        depletions.loaded_at
    from depletions
    inner join distributors on depletions.distributor_id = distributors.distributor_id
    inner join markets on distributors.market_code = markets.market_code
    inner join expressions on depletions.expression_id = expressions.expression_id
    left join fx_rates
        on markets.currency_code = fx_rates.currency_code
        and {{ apollo.month_of("depletions.depleted_on") }} = fx_rates.month_start
    left join duties
        on distributors.market_code = duties.market_code
        and expressions.category_code = duties.category_code
        and depletions.depleted_on >= duties.effective_from
        and (depletions.depleted_on < duties.effective_to or duties.effective_to is null)
)

select
    depletion_id,
    distributor_id,
    market_code,
    expression_id,
    brand_id,
    channel_code,
    depleted_on,
    depleted_month,
    bottles,
    nine_litre_cases,
    pure_alcohol_litres,
    cast(cast(net_sales_local as double) * cast(gbp_per_unit as double) as numeric(18, 4)) as net_sales_gbp,
    cast(
        cast(pure_alcohol_litres as double) * cast(duty_per_lpa_local as double) * cast(gbp_per_unit as double)
        as numeric(18, 4)
    ) as duty_gbp,
    loaded_at
from joined
