-- The day that all "as of" questions are asked on. Taken from the data, so that a rebuild tomorrow answers the same.
select max(depleted_on) as as_of_date
from {{ ref("stg_depletions") }}
