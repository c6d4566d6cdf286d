select id from {{ ref('keyed') }} union all select 1 from {{ source('lake', 'tables') }} where false
