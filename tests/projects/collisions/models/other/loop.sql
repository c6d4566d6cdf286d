{{ config(materialized='table') }}
-- reads what it wrote the last time
{% set itself = source('other', 'loop') %}
{% if load_relation(this) %}select count(*) as turns from {{ itself }}{% else %}select 0 as turns{% endif %}
