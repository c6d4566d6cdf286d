{{ config(group='販売') }}
select * from {{ ref('orders.2024-01') }}
