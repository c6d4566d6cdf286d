{{ config(materialized='ephemeral') }}
select * from {{ ref('stg_gadgets') }} where kind = 'lamp'
