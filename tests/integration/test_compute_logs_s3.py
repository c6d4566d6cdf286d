"""Compute logs in S3 instead, by dagster-aws, against moto's server."""

from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from dagster_aws.s3.compute_log_manager import S3ComputeLogManager
from moto.server import ThreadedMotoServer

from dagster_apollo.instance.compute_logs import ComputeLogs
from dagster_apollo.settings import ConfigurationError
from tests.integration.compute_logs import capture, query, read_all, start_capturing
from tests.integration.conftest import environment
from tests.integration.services import wait_until

pytestmark = pytest.mark.integration

KEY = ["run", "compute_logs", "abcdefgh"]
_SOON = "from dagster_apollo.instance import compute_logs\ncompute_logs._UPLOAD_EVERY_SECONDS = 1\n"


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """The address of an S3 with the bucket `logs`."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    address = f"http://{host}:{port}"
    client = boto3.client(
        "s3",
        endpoint_url=address,
        region_name="us-east-1",
        aws_access_key_id="a",
        aws_secret_access_key="b",
    )
    client.create_bucket(Bucket="logs")
    yield address
    server.stop()


@pytest.fixture
def env(apollo_env, s3: str, migrated_uri: str, tmp_path: Path) -> dict[str, str]:
    return apollo_env(
        tmp_path,
        DAGSTER_PG_URI=migrated_uri,
        APOLLO_COMPUTE_LOGS_S3_BUCKET="logs",
        APOLLO_COMPUTE_LOGS_S3_PREFIX=tmp_path.name,
        APOLLO_COMPUTE_LOGS_S3_ENDPOINT_URL=s3,
        APOLLO_COMPUTE_LOGS_S3_REGION="eu-central-1",
        AWS_ACCESS_KEY_ID="test",
        AWS_SECRET_ACCESS_KEY="test",
        NO_PROXY="*",
    )


@pytest.fixture
def manager(env: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[S3ComputeLogManager]:
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    with environment(env):
        manager = ComputeLogs.from_config_value(None, {})
    assert isinstance(manager, S3ComputeLogManager)
    yield manager
    manager.dispose()


def test_a_bucket_takes_the_place_of_the_database(
    env: dict[str, str], manager: S3ComputeLogManager
) -> None:
    assert capture(env, KEY, "print('text'); os.system('echo child')")[0] == 0
    assert sorted(read_all(manager, KEY)[0].split()) == [b"child", b"text"]
    assert manager.is_capture_complete(KEY)
    metadata = manager.get_log_metadata(KEY)
    prefix = env["APOLLO_COMPUTE_LOGS_S3_PREFIX"]
    assert metadata.stdout_location == f"s3://logs/{prefix}/storage/{'/'.join(KEY)}.out"
    assert "eu-central-1" in (metadata.stdout_download_url or "")
    assert query(env["DAGSTER_PG_URI"], "select count(*) from apollo_compute_log") == [(0,)]


def test_text_shows_while_the_run_goes_on(
    env: dict[str, str], manager: S3ComputeLogManager, tmp_path: Path
) -> None:
    go_on = tmp_path / "go-on"
    program = (
        f"print('first', flush=True)\nwhile not Path({str(go_on)!r}).exists(): time.sleep(0.05)"
    )
    process = start_capturing(env, KEY, program, before=_SOON)
    wait_until(lambda: read_all(manager, KEY)[0] == b"first\n")
    assert not manager.is_capture_complete(KEY)
    go_on.touch()
    process.communicate(timeout=60)
    assert process.returncode == 0
    assert manager.is_capture_complete(KEY)


def test_files_on_the_way_are_private_and_go_with_the_process(env: dict[str, str]) -> None:
    program = """
(folder,) = Path(os.environ["TMPDIR"]).glob("apollo-compute-logs-*")
assert folder.stat().st_mode & 0o777 == 0o700
assert list(folder.rglob("*.out"))
"""
    code, _, errors = capture(env, KEY, program)
    assert code == 0, errors
    assert list(Path(env["TMPDIR"]).iterdir()) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [("APOLLO_COMPUTE_LOGS_MAX_BYTES", "65535"), ("APOLLO_COMPUTE_LOGS_MAX_BYTES", "10 MB")],
)
def test_a_wrong_variable_is_named_with_its_mend(
    env: dict[str, str], name: str, value: str
) -> None:
    with environment({**env, name: value}), pytest.raises(ConfigurationError, match=name):
        ComputeLogs.from_config_value(None, {})
