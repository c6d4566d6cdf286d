with shipments as (
    select * from {{ ref("stg_shipments") }}
    where status = 'delivered'
),

reporting as (
    select * from {{ ref("int_reporting_date") }}
)

select
    shipments.distributor_id,
    cast(count(*) as integer) as deliveries_12m,
    cast(sum(case when shipments.delivered_on <= shipments.promised_on then 1 else 0 end) as integer)
        as on_time_deliveries_12m,
    avg(cast({{ dbt.datediff("shipments.ordered_on", "shipments.delivered_on", "day") }} as double))
        as average_lead_time_days
from shipments
cross join reporting
where shipments.delivered_on > {{ apollo.add_years(-1, "reporting.as_of_date") }}
    and shipments.delivered_on <= reporting.as_of_date
group by shipments.distributor_id
