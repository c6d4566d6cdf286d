select gadget_id from {{ ref('eph_dear_lamps') }}
except select gadget_id from {{ ref('eph_lamps') }}
