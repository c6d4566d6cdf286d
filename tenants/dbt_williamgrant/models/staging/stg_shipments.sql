with source as (
    select * from {{ source("raw", "shipments") }}
)

select
    cast(shipment_id as varchar) as shipment_id,
    cast(distributor_id as varchar) as distributor_id,
    cast(ordered_on as date) as ordered_on,
    cast(promised_on as date) as promised_on,
    cast(shipped_on as date) as shipped_on,
    cast(delivered_on as date) as delivered_on,
    cast(status as varchar) as status,
    cast(loaded_at as timestamp) as loaded_at
from source
