{{ config(materialized='incremental', unique_key='gadget_id') }}
select gadget_id, kind from {{ ref('stg_gadgets') }}
