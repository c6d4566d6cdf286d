select * from {{ ref('stg_gadgets') }}
