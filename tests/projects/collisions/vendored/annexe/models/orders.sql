{{ config(alias='annexe_orders') }}
select 1 as order_id
