select 4 as order_id
