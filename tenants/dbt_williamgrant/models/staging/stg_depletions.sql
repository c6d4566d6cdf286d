with source as (
    select * from {{ source("raw", "depletions") }}
)

select
    cast(depletion_id as varchar) as depletion_id,
    cast(distributor_id as varchar) as distributor_id,
    cast(expression_id as varchar) as expression_id,
    cast(channel_code as varchar) as channel_code,
    cast(depleted_on as date) as depleted_on,
    cast(bottles as integer) as bottles,
    cast(net_sales_local as numeric(18, 2)) as net_sales_local,
    cast(loaded_at as timestamp) as loaded_at
from source
