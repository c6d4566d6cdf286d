"""Which tenants the process of a run loads."""

import pytest
from dagster import AssetKey

from dagster_apollo.dbt.run_scope import tenants_of
from dagster_apollo.tenants import find_tenants

pytestmark = pytest.mark.unit


def keys(*paths: str) -> list[AssetKey]:
    return [AssetKey(path.split("/")) for path in paths]


@pytest.mark.parametrize(
    ("job", "assets", "names"),
    [
        ("acme_build", [], ("acme",)),
        ("my_shop_source_freshness", [], ("my shop",)),
        ("acme_seed", keys("acme/reference/raw"), ("acme",)),
        ("__ASSET_JOB", keys("acme/marts/a", "acme/marts/b"), ("acme",)),
        ("__ASSET_JOB", keys("acme/marts/a", "my_shop/b"), ("acme", "my shop")),
        # whatever is not known to be some tenant's may be any tenant's
        ("__ASSET_JOB", [], ()),
        ("__ASSET_JOB", keys("acme/marts/a", "elsewhere/b"), ()),
        ("nightly", [], ()),
    ],
)
def test_a_run_loads_the_tenants_that_it_is_about(make_tenants, job, assets, names):
    tenants = find_tenants(make_tenants({"dbt_acme": {}, "my shop": {}, "other": {}}))
    assert tenants_of(job, assets, tenants) == names
