select gadget_id from {{ ref('stg_gadgets') }} where gadget_id > 100
union all select 1 from {{ source('outside', 'runs') }} where phase = 'never'
