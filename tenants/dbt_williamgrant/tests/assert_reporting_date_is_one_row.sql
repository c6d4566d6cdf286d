-- Every question is asked as of one day; two rows here would double every number built on it.
select count(*) as reporting_dates
from {{ ref("int_reporting_date") }}
having count(*) <> 1
