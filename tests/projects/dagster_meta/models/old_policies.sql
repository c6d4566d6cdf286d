select id from {{ ref('owned') }}
