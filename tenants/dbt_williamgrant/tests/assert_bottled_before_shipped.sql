-- Of no expression has more been shipped than was ever bottled.
with bottled as (
    select expression_id, sum(bottles_filled) as bottles
    from {{ ref("stg_bottling_runs") }}
    group by expression_id
),

shipped as (
    select expression_id, sum(bottles) as bottles
    from {{ ref("fct_shipments") }}
    group by expression_id
)

select shipped.expression_id, shipped.bottles as bottles_shipped, bottled.bottles as bottles_bottled
from shipped
left join bottled on shipped.expression_id = bottled.expression_id
where shipped.bottles > coalesce(bottled.bottles, 0)
