select count(*) as returns from {{ source('shop', 'orders') }} where {{ var('none_yet', false) }}
