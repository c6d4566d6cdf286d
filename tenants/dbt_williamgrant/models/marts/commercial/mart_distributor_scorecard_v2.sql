-- Points of 0 to 100 for each measure, weighted as the seed scorecard_weights says.
with measures as (
    select * from {{ ref("int_distributor_measures") }}
),

points as (
    select distributor_id, 'volume_growth' as measure,
        greatest(0, least(100, 50 + 5 * coalesce(volume_growth_pct, 0))) as earned
    from measures
    union all
    select distributor_id, 'stock_cover' as measure,
        coalesce(
            greatest(0, 100 - 100 * abs({{ apollo.divide("stock_days", "target_stock_days") }} - 1)), 0
        ) as earned
    from measures
    union all
    select distributor_id, 'on_time_delivery' as measure, coalesce(on_time_pct, 0) as earned
    from measures
    union all
    -- List price less 25% or more earns nothing, list price itself everything.
    select distributor_id, 'price_realisation' as measure,
        greatest(0, least(100, 4 * (coalesce(price_realisation_pct, 75) - 75))) as earned
    from measures
),

weights as (
    select * from {{ ref("scorecard_weights") }}
),

scores as (
    select
        points.distributor_id,
        sum(points.earned * weights.weight_pct) / 100 as score
    from points
    inner join weights on points.measure = weights.measure
    group by points.distributor_id
)

select
    measures.distributor_id,
    measures.market_code,
    measures.nine_litre_cases_12m,
    measures.volume_growth_pct,
    measures.stock_days,
    measures.target_stock_days,
    measures.on_time_pct,
    measures.average_lead_time_days,
    measures.price_realisation_pct,
    cast(scores.score as numeric(18, 4)) as score,
    case
        when scores.score >= 75 then 'A'
        when scores.score >= 60 then 'B'
        when scores.score >= 45 then 'C'
        else 'D'
    end as grade,
    cast(rank() over (order by scores.score desc) as integer) as score_rank
from measures
inner join scores on measures.distributor_id = scores.distributor_id
