"""How Apollo connects to the instance's database."""

import pytest
from pydantic import SecretStr

from dagster_apollo.instance.database import connect_arguments, engine_of
from dagster_apollo.instance.postgres_pool import ConnectionPool, PoolOptions

pytestmark = pytest.mark.unit

URI = "postgresql+psycopg2://u:passwordzq@db/apollo"


@pytest.mark.parametrize(
    "engine",
    [
        lambda uri: engine_of(SecretStr(uri)),
        lambda uri: ConnectionPool(uri, PoolOptions()).engine,
    ],
    ids=["engine_of", "pool"],
)
def test_every_connection_notices_a_host_that_has_vanished(
    engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    captured: dict[str, object] = {}

    def connect(*_: object, **arguments: object) -> None:
        captured.update(arguments)
        raise ConnectionRefusedError

    made = engine(URI)
    monkeypatch.setattr(made.dialect, "connect", connect)
    with pytest.raises(ConnectionRefusedError):
        made.raw_connection()
    assert (captured["tcp_user_timeout"], captured["keepalives_idle"]) == (30_000, 30)


def test_what_the_uri_says_itself_counts() -> None:
    arguments = connect_arguments(f"{URI}?tcp_user_timeout=5000&application_name=mine")
    assert arguments.keys() == {
        "connect_timeout",
        "keepalives_idle",
        "keepalives_interval",
        "keepalives_count",
    }
