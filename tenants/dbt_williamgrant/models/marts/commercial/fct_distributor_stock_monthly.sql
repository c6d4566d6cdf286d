with stock as (
    select * from {{ ref("int_distributor_stock_monthly") }}
),

distributors as (
    select * from {{ ref("stg_distributors") }}
),

expressions as (
    select * from {{ ref("int_expressions_enriched") }}
),

counts as (
    select
        distributor_id,
        expression_id,
        {{ apollo.month_of("counted_on") }} as counted_month,
        bottles_counted
    from {{ ref("stg_stock_counts") }}
)

select
    stock.distributor_id,
    distributors.market_code,
    stock.expression_id,
    expressions.brand_id,
    stock.stock_month,
    stock.opening_bottles,
    stock.bottles_shipped,
    stock.bottles_depleted,
    stock.closing_bottles,
    {{ apollo.nine_litre_cases("stock.bottles_depleted", "expressions.bottle_ml") }} as depleted_nine_litre_cases,
    {{ apollo.nine_litre_cases("stock.closing_bottles", "expressions.bottle_ml") }} as closing_nine_litre_cases,
    counts.bottles_counted,
    cast(counts.bottles_counted - stock.closing_bottles as integer) as count_variance_bottles
from stock
inner join distributors on stock.distributor_id = distributors.distributor_id
inner join expressions on stock.expression_id = expressions.expression_id
left join counts
    on stock.distributor_id = counts.distributor_id
    and stock.expression_id = counts.expression_id
    and stock.stock_month = counts.counted_month
