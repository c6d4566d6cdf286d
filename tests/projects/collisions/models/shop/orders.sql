-- [shop, orders]: so is the package's model, and the source of that name
select 1 as order_id
