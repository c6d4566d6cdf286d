{{ config(schema='another', alias='bills_v1') }}
select 2 as bill_id
