{{ config(materialized='frozen_table') }}
select kind, count(*) as gadgets from {{ ref('gadgets', v=2) }} group by kind
