select * from {{ ref('fails_its_test') }}
