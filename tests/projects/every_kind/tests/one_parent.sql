select * from {{ ref('stg_gadgets') }} where price < 0
