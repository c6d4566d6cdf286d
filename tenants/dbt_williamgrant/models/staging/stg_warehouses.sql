with source as (
    select * from {{ source("raw", "warehouses") }}
)

select
    cast(warehouse_id as varchar) as warehouse_id,
    cast(warehouse_name as varchar) as warehouse_name,
    cast(warehouse_type as varchar) as warehouse_type
from source
