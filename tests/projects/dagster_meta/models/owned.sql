select id from {{ ref('keyed_too') }}
