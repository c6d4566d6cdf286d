select facts.*
from {{ ref("fct_shipments") }} as facts
inner join {{ ref("stg_shipments") }} as shipments on facts.shipment_id = shipments.shipment_id
where shipments.status <> 'delivered'
