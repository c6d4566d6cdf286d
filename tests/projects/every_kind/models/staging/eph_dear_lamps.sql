{{ config(materialized='ephemeral') }}
select * from {{ ref('eph_lamps') }} where price > 11
