with source as (
    select * from {{ source("raw", "stock_counts") }}
)

select
    cast(stock_count_id as varchar) as stock_count_id,
    cast(distributor_id as varchar) as distributor_id,
    cast(expression_id as varchar) as expression_id,
    cast(counted_on as date) as counted_on,
    cast(bottles_counted as integer) as bottles_counted,
    cast(loaded_at as timestamp) as loaded_at
from source
