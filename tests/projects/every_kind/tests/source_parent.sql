select * from {{ source('outside', 'runs') }} where phase is null
