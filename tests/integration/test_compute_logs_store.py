"""Logs in the database: what is kept of a long one, and what it costs to write and to read."""

import re
from collections.abc import Callable, Iterator

import pytest
from dagster._core.storage.compute_log_manager import CapturedLogData
from dagster._core.storage.dagster_run import FINISHED_STATUSES
from pydantic import SecretStr
from sqlalchemy import event

from dagster_apollo.contract import normalise_postgres_uri
from dagster_apollo.instance.postgres_logs import store as store_module
from dagster_apollo.instance.postgres_logs.manager import PostgresComputeLogManager
from dagster_apollo.instance.postgres_logs.shipper import Shipper
from dagster_apollo.instance.postgres_logs.store import ComputeLogError, ComputeLogStore
from dagster_apollo.instance.postgres_logs.window import Backlog, Part, Window
from tests.integration.compute_logs import MAX_BYTES, STDERR, STDOUT, manager_of, query
from tests.integration.services import wait_until

pytestmark = pytest.mark.integration

KEY = ["log", "a/b", "€%_"]
WINDOW = Window(MAX_BYTES)
GAP = re.compile(rb"\n\[apollo: [0-9,]+ bytes are not kept here\]\n")


@pytest.fixture
def store(migrated_uri: str) -> Iterator[ComputeLogStore]:
    store = ComputeLogStore(SecretStr(normalise_postgres_uri(migrated_uri)), WINDOW)
    yield store
    store.close()


@pytest.fixture
def manager(migrated_uri: str) -> Iterator[PostgresComputeLogManager]:
    manager = manager_of(migrated_uri)
    yield manager
    manager.dispose()


Ship = Callable[..., bool]


@pytest.fixture
def backlog() -> Backlog:
    return Backlog(WINDOW)


@pytest.fixture
def ship(store: ComputeLogStore, backlog: Backlog) -> Ship:
    """Store what is in the backlog, as the collector does."""
    return Shipper(store, KEY, {"stdout": backlog}).ship


def lines(count: int) -> list[bytes]:
    return [b"this is line %06d of the log\n" % number for number in range(count)]


def test_a_follower_of_a_log_of_fifty_times_the_bound_sees_no_byte_twice_nor_out_of_order(
    ship: Ship, backlog: Backlog, manager: PostgresComputeLogManager, migrated_uri: str
) -> None:
    whole = lines(50 * MAX_BYTES // len(lines(1)[0]))
    seen, offset, most_rows, most_bytes = [], 0, 0, 0
    for number, line in enumerate(whole):
        backlog.add(line)
        if number % 61 == 0:
            ship()
        if number % 3001 == 0 or (number < 2000 and number % 100 == 0):
            data, offset = manager.get_log_data_for_type(KEY, STDOUT, offset, 1024 * 1024)
            seen.append(data or b"")
            ((rows, size),) = query(
                migrated_uri,
                "select count(*), sum(octet_length(data)) from apollo_compute_log_chunk",
            )
            most_rows, most_bytes = max(most_rows, rows), max(most_bytes, size)
    ship(is_last=True)
    data, offset = manager.get_log_data_for_type(KEY, STDOUT, offset, None)
    seen.append(data or b"")

    text = b"".join(whole)
    assert offset == len(text)
    stretches = GAP.split(b"".join(seen))
    assert len(stretches) > 10
    at = 0
    for stretch in stretches:
        assert text.index(stretch, at) >= at
        at = text.index(stretch, at) + len(stretch)
    assert most_rows <= 2 * MAX_BYTES / WINDOW.row + 3
    assert most_bytes <= MAX_BYTES

    kept, _ = manager.get_log_data_for_type(KEY, STDOUT, 0, None)
    head, tail = GAP.split(kept)
    assert head == text[: WINDOW.head]
    assert text.endswith(tail)
    assert len(tail) >= WINDOW.tail - WINDOW.chunk


def test_a_log_within_the_bound_is_whole_however_it_is_read(
    ship: Ship, backlog: Backlog, manager: PostgresComputeLogManager
) -> None:
    whole = b"".join(lines(1500))
    backlog.add(whole)
    ship()
    assert manager.get_log_data_for_type(KEY, STDOUT, 0, None) == (whole, len(whole))
    for offset in (0, 1, 8191, 8192, 8193, 32_767, 32_768, len(whole) - 1, len(whole)):
        expected = whole[offset : offset + 5000]
        read = manager.get_log_data_for_type(KEY, STDOUT, offset, 5000)
        assert read == (expected, offset + len(expected))


def test_what_was_stored_when_the_answer_was_lost_is_not_stored_again(
    store: ComputeLogStore, manager: PostgresComputeLogManager
) -> None:
    store.open(KEY, ["stdout"])
    part = Part(0, b"one\n")
    assert store.append(KEY, "stdout", [part], is_last=False)
    assert store.append(KEY, "stdout", [part, Part(4, b"two\n")], is_last=False)
    assert store.append(KEY, "stdout", [Part(4, b"two\nthree\n")], is_last=False)
    assert manager.get_log_data(KEY).stdout == b"one\ntwo\nthree\n"


def test_a_log_that_was_deleted_meanwhile_is_not_made_again(
    ship: Ship, backlog: Backlog, manager: PostgresComputeLogManager, migrated_uri: str
) -> None:
    backlog.add(b"text")
    assert ship()
    manager.delete_logs(prefix=KEY[:2])
    backlog.add(b"more")
    assert not ship(is_last=True)
    assert query(migrated_uri, "select count(*) from apollo_compute_log") == [(0,)]


def test_every_statement_finds_its_rows_by_an_index(
    store: ComputeLogStore, migrated_uri: str
) -> None:
    query(
        migrated_uri,
        "insert into apollo_compute_log (log_key, stream, length)"
        " select 'k' || n || '/x', stream, 20 from generate_series(1, 5000) n,"
        " unnest(array['stdout', 'stderr']) stream",
    )
    query(
        migrated_uri,
        "insert into apollo_compute_log_chunk"
        " select log_key, stream, p * 2, 'xy' from apollo_compute_log, generate_series(0, 9) p",
    )
    query(
        migrated_uri,
        "insert into runs (run_id, status) select 'k' || n, 'STARTED'"
        " from generate_series(1, 5000) n",
    )
    query(migrated_uri, "analyze")
    plans: list[str] = []

    def explain(connection, cursor, statement, parameters, context, executemany) -> None:
        if not statement.startswith("EXPLAIN") and not executemany:
            explain_cursor = connection.connection.cursor()
            explain_cursor.execute(f"EXPLAIN {statement}", parameters)
            plans.append(f"{statement}\n" + "\n".join(row[0] for row in explain_cursor))

    event.listen(store._engine, "before_cursor_execute", explain)
    key = ["k77", "x"]
    store.open(key, ["stdout", "stderr"])
    store.append(key, "stdout", [Part(20, b"z" * MAX_BYTES)], is_last=False)
    store.read(key, "stdout", 5, 100)
    store.states([key, ["k78", "x"], ["no", "such"]])
    store.keys(["k77"], "stdout")
    store.delete(key)
    store.delete_below(["k78"])
    assert len(plans) == 11
    assert [plan for plan in plans if "Seq Scan" in plan] == []


def test_a_reader_that_has_all_is_sent_no_data(
    ship: Ship, backlog: Backlog, store: ComputeLogStore
) -> None:
    backlog.add(b"text")
    ship()
    statements: list[str] = []
    event.listen(store._engine, "before_cursor_execute", lambda *given: statements.append(given[2]))
    assert store.read(KEY, "stdout", 4, 100) == (b"", 4)
    assert [it for it in statements if "chunk" in it] == []


def test_all_who_follow_cost_one_statement_a_look(
    store: ComputeLogStore, manager: PostgresComputeLogManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And a database that is away for a while only makes them wait."""
    store.open(KEY, ["stdout"])
    looks: list[int] = []
    stock = manager._store.states

    def states(log_keys):
        looks.append(len(log_keys))
        if len(looks) == 12:
            raise ComputeLogError("away")
        return stock(log_keys)

    monkeypatch.setattr(manager._followers, "_states", states)
    given: list[list[CapturedLogData]] = [[] for _ in range(10)]
    subscriptions = [manager.subscribe(KEY)(observer.append) for observer in given]
    assert looks == [1] * 10
    wait_until(lambda: len(looks) >= 13)
    assert set(looks[10:]) == {10}
    subscriptions.pop().dispose()
    store.append(KEY, "stdout", [Part(0, b"text")], is_last=False)
    wait_until(lambda: all(observed[-1].stdout for observed in given[:-1]))
    store.append(KEY, "stdout", [], is_last=True)
    wait_until(lambda: all(it.is_complete for it in subscriptions))
    for observed in given[:-1]:
        assert b"".join(it.stdout or b"" for it in observed) == b"text"
        assert observed[-1] == CapturedLogData(KEY, cursor="4:0")  # what ends Dagster's waiting
    assert b"".join(it.stdout or b"" for it in given[-1]) == b""


def test_a_follower_gets_all_of_a_log_that_grows_by_more_than_dagster_reads_at_once(
    migrated_uri: str,
) -> None:
    window = Window(8 * 1024 * 1024)
    big = manager_of(migrated_uri, window.max_bytes)
    backlog = Backlog(window)
    whole = "größe €\n".encode() * 250_000
    backlog.add(whole)
    Shipper(big._store, KEY, {"stderr": backlog}).ship(is_last=True)
    given: list[CapturedLogData] = []
    big.subscribe(KEY)(given.append)
    assert len(given) > 2
    assert "".join((it.stderr or b"").decode() for it in given) == whole.decode()
    big.dispose()


def test_a_reader_uses_one_connection_and_gives_it_back(
    manager: PostgresComputeLogManager, migrated_uri: str
) -> None:
    for _ in range(20):
        manager.get_log_data_for_type(KEY, STDERR, 0, None)
        manager.is_capture_complete(KEY)
    count = (
        "select count(*) from pg_stat_activity"
        " where datname = current_database() and application_name = 'apollo'"
    )
    assert query(migrated_uri, count) == [(1,)]
    manager.dispose()
    wait_until(lambda: query(migrated_uri, count) == [(0,)])


def test_an_error_names_the_mend_and_not_the_database(postgres_uri: str) -> None:
    with pytest.raises(ComputeLogError, match=r"UndefinedTable.*Run `apollo migrate`"):
        manager_of(postgres_uri).get_log_data(KEY)
    away = manager_of("postgresql://apollo:hush-hush@127.0.0.1:1/nowhere")
    with pytest.raises(ComputeLogError, match="OperationalError") as raised:
        away.get_log_data(KEY)
    assert "hush-hush" not in str(raised.value)
    assert "127.0.0.1" not in str(raised.value)


def test_the_states_that_end_a_run_are_dagsters() -> None:
    named = re.search(r"run\.status in \(([^)]*)\)", str(store_module._STATES))
    assert named
    assert set(re.findall(r"\w+", named[1])) == {status.value for status in FINISHED_STATUSES}
