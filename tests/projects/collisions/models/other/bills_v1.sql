select 1 as bill_id
