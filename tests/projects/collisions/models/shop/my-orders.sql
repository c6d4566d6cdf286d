select * from {{ ref('mall', 'orders') }}
