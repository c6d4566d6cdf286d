select gadget_id from {{ ref('gadgets', v=2) }}
except select gadget_id from {{ ref('stg_gadgets') }}
