-- a singular test of two models
select 1
from (select sum(total) as total from {{ ref('customers') }}) as c
cross join (select sum(amount) as total from {{ ref('orders') }}) as o
where c.total <> o.total
