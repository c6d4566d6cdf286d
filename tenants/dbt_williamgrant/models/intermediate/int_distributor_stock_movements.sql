with arrivals as (
    select
        distributor_id,
        expression_id,
        delivered_month as movement_month,
        bottles as bottles_in,
        0 as bottles_out
    from {{ ref("int_shipment_lines_converted") }}
),

departures as (
    select
        distributor_id,
        expression_id,
        depleted_month as movement_month,
        0 as bottles_in,
        bottles as bottles_out
    from {{ ref("int_depletions_converted") }}
),

movements as (
    select * from arrivals
    union all
    select * from departures
)

select
    distributor_id,
    expression_id,
    movement_month,
    cast(sum(bottles_in) as integer) as bottles_shipped,
    cast(sum(bottles_out) as integer) as bottles_depleted
from movements
group by distributor_id, expression_id, movement_month
