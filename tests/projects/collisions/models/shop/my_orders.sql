select * from {{ ref('annexe', 'orders') }}
