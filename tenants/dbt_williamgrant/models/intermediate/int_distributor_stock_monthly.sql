with movements as (
    select * from {{ ref("int_distributor_stock_movements") }}
),

months as (
    select distinct movement_month as stock_month from movements
),

first_movements as (
    select distributor_id, expression_id, min(movement_month) as first_month
    from movements
    group by distributor_id, expression_id
),

-- A month in which nothing moved still has stock: every month since the first movement gets a row.
spine as (
    select first_movements.distributor_id, first_movements.expression_id, months.stock_month
    from first_movements
    inner join months on first_movements.first_month <= months.stock_month
),

filled as (
    select
        spine.distributor_id,
        spine.expression_id,
        spine.stock_month,
        coalesce(movements.bottles_shipped, 0) as bottles_shipped,
        coalesce(movements.bottles_depleted, 0) as bottles_depleted
    from spine
    left join movements
        on spine.distributor_id = movements.distributor_id
        and spine.expression_id = movements.expression_id
        and spine.stock_month = movements.movement_month
),

running as (
    select
        distributor_id,
        expression_id,
        stock_month,
        bottles_shipped,
        bottles_depleted,
        sum(bottles_shipped - bottles_depleted) over (
            partition by distributor_id, expression_id
            order by stock_month
            rows between unbounded preceding and current row
        ) as closing
    from filled
)

select
    distributor_id,
    expression_id,
    stock_month,
    cast(closing - bottles_shipped + bottles_depleted as integer) as opening_bottles,
    cast(bottles_shipped as integer) as bottles_shipped,
    cast(bottles_depleted as integer) as bottles_depleted,
    cast(closing as integer) as closing_bottles
from running
