select on_day from {{ ref('versions') }}
