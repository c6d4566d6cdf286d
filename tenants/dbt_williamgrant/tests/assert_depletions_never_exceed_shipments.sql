-- Nobody sells what has not arrived: stock by the book may fall to nothing, never below.
select *
from {{ ref("int_distributor_stock_monthly") }}
where opening_bottles < 0
    or closing_bottles < 0
