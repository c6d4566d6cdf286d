select count(*) as customers from {{ source('raw', 'customers') }}
