-- The first scorecard: three measures, all of equal weight. Kept for the readers that have not moved to v2.
with measures as (
    select * from {{ ref("int_distributor_measures") }}
),

points as (
    select
        *,
        greatest(0, least(100, 50 + 5 * coalesce(volume_growth_pct, 0))) as growth_points,
        greatest(0, 100 - 100 * abs({{ apollo.divide("stock_days", "target_stock_days") }} - 1)) as cover_points,
        coalesce(on_time_pct, 0) as service_points
    from measures
)

select
    distributor_id,
    market_code,
    nine_litre_cases_12m,
    volume_growth_pct,
    stock_days,
    on_time_pct,
    cast((growth_points + coalesce(cover_points, 0) + service_points) / 3 as numeric(18, 4)) as score
from points
