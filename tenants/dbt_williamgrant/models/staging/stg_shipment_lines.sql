with source as (
    select * from {{ source("raw", "shipment_lines") }}
)

select
    cast(shipment_line_id as varchar) as shipment_line_id,
    cast(shipment_id as varchar) as shipment_id,
    cast(expression_id as varchar) as expression_id,
    cast(bottles as integer) as bottles,
    cast(unit_price_local as numeric(18, 4)) as unit_price_local,
    cast(currency_code as varchar) as currency_code,
    cast(loaded_at as timestamp) as loaded_at
from source
