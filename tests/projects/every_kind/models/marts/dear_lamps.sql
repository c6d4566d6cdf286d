{{ config(materialized='table') }}
select * from {{ ref('eph_dear_lamps') }}
