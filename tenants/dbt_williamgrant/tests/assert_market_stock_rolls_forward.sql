-- Stock of a month is stock of the month before, plus what came, less what went; the tolerance is for rounding to 9LE.
with rolled as (
    select
        *,
        lag(closing_nine_litre_cases) over (partition by market_code order by stock_month) as opening_cases
    from {{ ref("mart_market_stock_days") }}
)

select *
from rolled
where abs(
    coalesce(opening_cases, 0) + shipped_nine_litre_cases - depleted_nine_litre_cases - closing_nine_litre_cases
) > 0.1
