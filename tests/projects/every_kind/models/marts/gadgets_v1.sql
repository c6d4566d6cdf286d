select gadget_id from {{ ref('stg_gadgets') }}
