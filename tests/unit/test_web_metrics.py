"""How Prometheus is told of an instance's state."""

import pytest
from prometheus_client.parser import text_string_to_metric_families

from dagster_apollo.web.metrics import exposition
from tests.unit.test_status import NOW, WELL

pytestmark = pytest.mark.unit


def test_prometheus_reads_all_of_it() -> None:
    samples = {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(exposition(WELL))
        for sample in family.samples
    }
    assert samples == {
        ("apollo_service_up", "abc", "daemon", "daemon"): 1,
        ("apollo_service_last_seen_timestamp_seconds", "daemon", "daemon"): NOW.timestamp(),
        ("apollo_runs", "queued"): 1,
        ("apollo_runs", "running"): 0,
        ("apollo_oldest_run_timestamp_seconds", "queued"): NOW.timestamp() - 300,
        ("apollo_tenant_last_success_timestamp_seconds", "acme"): NOW.timestamp(),
        ("apollo_tenant_last_run_failed", "acme"): 0,
        ("apollo_failing", "acme", "check", "warn"): 1,
        (
            "apollo_schedule_next_tick_timestamp_seconds",
            "acme_build_schedule",
        ): NOW.timestamp() + 3600,
        ("apollo_database_size_bytes",): 1234,
        ("apollo_problems",): 0,
        ("apollo_retention_failed",): 0,
        ("apollo_retention_last_success_timestamp_seconds",): NOW.timestamp(),
    }
