select gadget_id, kind, price, cast(made_on as date) as made_on
from {{ ref('raw_gadgets') }}
