"""No secret is ever shown: keys and passphrases are planted, broken, and searched for everywhere.

Each place that is searched first proves that what passes it would be found: a harmless word that
takes the same path is there.
"""

import base64
import json
import logging
import os
import re
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, unquote

import pytest
import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PrivateFormat, PublicFormat

from dagster_apollo.paths import CHECKOUT
from tests.integration.conftest import (
    SMALL,
    CopyTenants,
    MakeEnvironment,
    OpenHome,
    RunApollo,
    Snowflake,
    free_port,
    make_pem,
)

pytestmark = pytest.mark.integration

PASSPHRASE = 'zebra\'s "crossing" \\ 100% of the time'
WRONG_PASSPHRASE = 'giraffe\'s "underpass" \\ 7% of the time'
WINDOW = 20
"""So many characters of a secret in a row count as a leak."""


# --- finding a secret in whatever form it appears --------------------------------------------


class Planted:
    """Secrets to look for: raw, and as JSON, base64, hex, a URL or repr() would show them.

    Args:
        secrets: what must not be seen.
        alike: what has the same form and is no secret, such as another key: what a secret has in
            common with it (PEM headers, the beginning of the DER) is not looked for.
    """

    def __init__(self, secrets: Iterable[str], alike: Iterable[str] = ()) -> None:
        self._windows = _all_windows(secrets) - _all_windows(alike)
        self._halves = {half for it in self._windows for half in _windows(it, WINDOW // 2)}
        assert self._windows

    def found_in(self, content: str | bytes) -> str | None:
        """A piece of a secret that is in the content; None if there is none."""
        if isinstance(content, str):
            texts = {content, unquote(content)}
        else:
            texts = {content.decode("latin-1"), content.decode("utf-8", "ignore")}
            texts |= {unquote(text) for text in texts if "%" in text}
        for text in texts:
            bare = _squeeze(text)
            step = WINDOW // 2  # any WINDOW characters in a row hold one of these steps whole
            for at in range(0, len(bare), step):
                if bare[at : at + step] in self._halves:
                    for begin in range(max(0, at - step), at + 1):
                        if bare[begin : begin + WINDOW] in self._windows:
                            return bare[begin : begin + WINDOW]
        return None


def _all_windows(values: Iterable[str]) -> set[str]:
    return {it for value in values for form in _forms(value) for it in _windows(form, WINDOW)}


def _windows(text: str, size: int) -> set[str]:
    return {text[at : at + size] for at in range(len(text) - size + 1)}


def _squeeze(text: str) -> str:
    """Take off line breaks, escapes, quotes and what a table draws: all that may cut a secret."""
    return re.sub(r"\\+[nrt]?|[\s\"'│┃|]", "", text)


def _forms(value: str) -> Iterator[str]:
    for text in {value, "".join(value.split())}:
        yield _squeeze(text)
        yield text.encode().hex()
        for shift in range(3):
            yield base64.b64encode(text.encode()[shift:]).decode()[:-4]
    body = "".join(line for line in value.splitlines() if ":" not in line and "--" not in line)
    if re.fullmatch(r"[A-Za-z0-9+/]{64,}=*", body):
        der = base64.b64decode(body[: len(body) // 4 * 4])
        yield _squeeze(der.decode("latin-1"))
        yield der.hex()


@dataclass(frozen=True)
class Keys:
    """Secrets of this session, in the forms that people paste."""

    plain: str = field(default_factory=make_pem)
    encrypted: str = field(default_factory=lambda: make_pem(PASSPHRASE))
    another: str = field(default_factory=make_pem)
    ec: str = field(default_factory=lambda: _pem(ec.generate_private_key(ec.SECP384R1())))
    ed25519: str = field(default_factory=lambda: _pem(ed25519.Ed25519PrivateKey.generate()))
    short: str = field(
        default_factory=lambda: _pem(rsa.generate_private_key(public_exponent=65537, key_size=1024))
    )
    garbage: str = field(default_factory=lambda: base64.b64encode(os.urandom(1200)).decode())

    @property
    def one_line(self) -> str:
        """Base64 DER: the form in which dbt gets the key, too."""
        return "".join(self.plain.splitlines()[1:-1])

    @property
    def decrypted(self) -> str:
        """The key that lies in the encrypted one, and that dbt is given."""
        key = serialization.load_pem_private_key(self.encrypted.encode(), PASSPHRASE.encode())
        return key.private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, serialization.NoEncryption()
        ).decode()

    @property
    def planted(self) -> Planted:
        pems = [it for it in vars(self).values() if it != self.garbage] + [self.decrypted]
        alike = [_secret_part(make_pem("another")) for _ in range(2)]
        return Planted(
            [*map(_secret_part, pems), self.garbage, PASSPHRASE, WRONG_PASSPHRASE], alike
        )


def _secret_part(pem: str) -> str:
    """A PEM less its headers and the beginning of its body, which says what kind of key it is."""
    body = "".join(pem.splitlines()[1:-1])
    return body[min(64, len(body) // 3 // 4 * 4) :]


def _pem(key: "ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey") -> str:
    no = serialization.NoEncryption()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, no).decode()


def _public(pem: str) -> str:
    key = serialization.load_pem_private_key(pem.encode(), None).public_key()
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def _old_style(pem: str) -> str:
    """PKCS#1, encrypted as its own header says."""
    key = serialization.load_pem_private_key(pem.encode(), None)
    secret = serialization.BestAvailableEncryption(PASSPHRASE.encode())
    return key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, secret).decode()


@pytest.fixture(scope="module")
def keys() -> Keys:
    return Keys()


@pytest.fixture(scope="module")
def planted(keys: Keys) -> Planted:
    return keys.planted


SHOWN: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "in JSON": json.dumps,
    "in JSON in JSON": lambda it: json.dumps(json.dumps({"key": it})),
    "in repr()": repr,
    "in base64": lambda it: base64.b64encode(b"x" + it.encode()).decode(),
    "in hex": lambda it: it.encode().hex(),
    "in a URL": lambda it: quote(it, safe=""),
    "in a narrow table": lambda it: " │\n│ ".join(re.findall(r"(?s).{1,20}", it)),
    "a piece of it": lambda it: it[7 : 7 + 2 * WINDOW],
}


@pytest.mark.parametrize("shown", SHOWN)
@pytest.mark.parametrize("secret", ["plain", "encrypted", "one_line", "ec", "passphrase"])
def test_a_secret_would_be_found(secret: str, shown: str, keys: Keys, planted: Planted) -> None:
    value = PASSPHRASE if secret == "passphrase" else getattr(keys, secret)
    if shown == "a piece of it" and secret != "passphrase":
        value = value[100:]  # the beginning is the same in all keys
    assert planted.found_in(f"some words before it {SHOWN[shown](value)} and after it")
    assert planted.found_in(b"\x00\xff" + SHOWN[shown](value).encode() + b"\xff")


def test_what_is_no_secret_is_not_found(planted: Planted, keys: Keys) -> None:
    assert not planted.found_in(make_pem())
    assert not planted.found_in((CHECKOUT / "dagster_apollo" / "key_forms.py").read_text())


# --- every way to get a key wrong ------------------------------------------------------------

PEM, B64, PATH = (f"SNOWFLAKE_PRIVATE_KEY_{it}" for it in ("PEM", "B64", "PATH"))
PASS = "SNOWFLAKE_PRIVATE_KEY_PASSPHRASE"

BROKEN: dict[str, Callable[[Keys], dict[str, str]]] = {
    "cut in half": lambda it: {PEM: it.plain[: len(it.plain) // 2]},
    "END is missing": lambda it: {PEM: it.plain.rpartition("-----END")[0]},
    "BEGIN is missing": lambda it: {PEM: it.plain.partition("KEY-----")[2]},
    "only the first line": lambda it: {PEM: it.plain.splitlines()[0]},
    "a line is missing": lambda it: {PEM: it.plain.replace(it.plain.splitlines()[5], "")},
    "a character too many": lambda it: {PEM: it.plain[:300] + "é" + it.plain[300:]},
    "a wrong passphrase": lambda it: {PEM: it.encrypted, PASS: WRONG_PASSPHRASE},
    "no passphrase": lambda it: {PEM: it.encrypted},
    "a superfluous passphrase": lambda it: {PEM: it.plain, PASS: PASSPHRASE},
    "the key for a passphrase": lambda it: {PEM: it.encrypted, PASS: it.plain},
    "the passphrase for a key": lambda it: {PEM: PASSPHRASE},
    "key and passphrase swapped": lambda it: {PEM: PASSPHRASE, PASS: it.encrypted},
    "an elliptic curve": lambda it: {PEM: it.ec},
    "Ed25519": lambda it: {PEM: it.ed25519},
    "too short": lambda it: {PEM: it.short},
    "two keys": lambda it: {PEM: it.plain + it.another},
    "the public key": lambda it: {PEM: _public(it.plain)},
    "encrypted PKCS#1": lambda it: {PEM: _old_style(it.plain), PASS: WRONG_PASSPHRASE},
    "PuTTY's form": lambda it: {PEM: f"PuTTY-User-Key-File-3: ssh-rsa\n{it.one_line}"},
    "two variables": lambda it: {PEM: it.plain, B64: it.one_line},
    "three variables": lambda it: {PEM: it.plain, B64: it.another, PATH: "/run/secrets/key.p8"},
    "base64 of nothing": lambda it: {B64: it.garbage},
    "base64 cut short": lambda it: {B64: it.one_line[:-40]},
    "base64 thrice over": lambda it: {
        B64: base64.b64encode(base64.b64encode(base64.b64encode(it.plain.encode()))).decode()
    },
    "the key for a path": lambda it: {PATH: it.plain},
    "the key on one line for a path": lambda it: {PATH: it.one_line},
    "quotes and text after it": lambda it: {B64: f'"{it.one_line}" # of the service user'},
    "in JSON": lambda it: {B64: json.dumps({"key": it.one_line})},
    "another's prefix": lambda it: {f"OTHER__{PEM}": it.plain},
    "in hex": lambda it: {PEM: base64.b64decode(it.one_line).hex()},
}

MISPLACED = (
    *("SNOWFLAKE_ACCOUNT", "SNOWFLAKE_HOST", "SNOWFLAKE_PORT", "SNOWFLAKE_PROTOCOL"),
    *("DBT_TARGET", "DBT_THREADS", "DBT_SCHEMA", "DBT_PROFILE_NAME"),
    *("DAGSTER_PG_URI", "APOLLO_TENANTS", "APOLLO_TENANTS_DIR", "DAGSTER_HOME"),
)

ACCEPTED: dict[str, Callable[[Keys], dict[str, str]]] = {
    "a PEM": lambda it: {PEM: it.plain},
    "escaped newlines": lambda it: {PEM: it.plain.replace("\n", "\\n")},
    "in quotes": lambda it: {PEM: f'"{it.plain}"'},
    "base64 of a PEM": lambda it: {B64: base64.b64encode(it.plain.encode()).decode()},
    "encrypted": lambda it: {PEM: it.encrypted, PASS: PASSPHRASE},
}

COMMANDS = {
    "doctor": ["doctor"],
    "doctor --json": ["doctor", "--json"],
    "build": ["build", "small"],
    "build --json": ["build", "small", "--json"],
    "prepare": ["prepare"],
    "dbt": ["dbt", "small", "--", "debug"],
}


@pytest.fixture(scope="module")
def dev_env(copy_tenants: CopyTenants, apollo_env: MakeEnvironment) -> dict[str, str]:
    """Target dev with all but a key."""
    connection = {
        f"SNOWFLAKE_{name}": f"{name.lower()}-zq"
        for name in ("ACCOUNT", "USER", "ROLE", "WAREHOUSE", "DATABASE")
    }
    return apollo_env(copy_tenants(dbt_small=SMALL), DBT_TARGET="dev", **connection)


@pytest.fixture
def all_logs() -> Iterator[Callable[[], str]]:
    """Whatever any library logs in this process, at any level."""
    records: list[str] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            records.append(f"{record.getMessage()} {record.args} {record.exc_info}")

    handler, root = Handler(), logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        logging.getLogger("dagster_apollo").debug("%s is captured", "a canary")
        assert "a canary is captured" in records[0]
        yield lambda: "\n".join(records)
    finally:
        root.removeHandler(handler)
        root.setLevel(level)


@pytest.mark.parametrize("command", COMMANDS)
def test_no_broken_key_is_shown_by_a_command(
    command: str,
    dev_env: dict[str, str],
    keys: Keys,
    planted: Planted,
    call_apollo: RunApollo,
    all_logs: Callable[[], str],
) -> None:
    cases = {
        **{name: make(keys) for name, make in BROKEN.items()},
        **{f"in {name}": {PEM: keys.plain, name: keys.one_line} for name in MISPLACED},
        **{f"a PEM in {name}": {PEM: keys.plain, name: keys.plain} for name in MISPLACED},
    }
    for case, variables in cases.items():
        ended = call_apollo(COMMANDS[command], {**dev_env, **variables})
        shown = ended.stdout + ended.stderr
        assert ended.returncode == 2, (case, shown)
        assert re.search(r"(SNOWFLAKE|DBT|DAGSTER|APOLLO)_[A-Z_]+", shown), (case, shown)
        assert not planted.found_in(shown), (case, shown)
        assert "Traceback" not in shown, case
    assert not planted.found_in(all_logs())


@pytest.mark.parametrize("command", ["doctor", "doctor --json"])
def test_no_good_key_is_shown_by_the_doctor(
    command: str,
    dev_env: dict[str, str],
    keys: Keys,
    planted: Planted,
    call_apollo: RunApollo,
    all_logs: Callable[[], str],
) -> None:
    for case, make in ACCEPTED.items():
        ended = call_apollo(COMMANDS[command], {**dev_env, **make(keys)})
        assert ended.returncode == 0, (case, ended.stdout)
        assert "RSA, 2048 bits, SHA256:" in ended.stdout
        assert not planted.found_in(ended.stdout + ended.stderr), case
    assert not planted.found_in(all_logs())


def test_a_login_that_fails_shows_no_key(
    dev_env: dict[str, str],
    keys: Keys,
    planted: Planted,
    call_apollo: RunApollo,
    all_logs: Callable[[], str],
    fakesnow_server: Snowflake,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("dagster_apollo.checks._LOGIN_SECONDS", 2)
    key = {PEM: keys.encrypted, PASS: PASSPHRASE, "SNOWFLAKE_HOST": "localhost"}
    for port, error in ((fakesnow_server.port, "390144"), (free_port(), "250001")):
        server = {"SNOWFLAKE_PORT": str(port), "SNOWFLAKE_PROTOCOL": "http"}
        ended = call_apollo(["doctor", "--connect"], {**dev_env, **key, **server})
        assert ended.returncode == 2
        assert f"Snowflake error {error}" in ended.stdout, ended.stdout
        assert not planted.found_in(ended.stdout + ended.stderr)
    assert "snowflake" in all_logs().lower()  # the connector did log
    assert not planted.found_in(all_logs())


def test_a_broken_key_in_a_code_location_is_not_shown_by_dagster(
    dev_env: dict[str, str], keys: Keys, planted: Planted
) -> None:
    env = {**dev_env, PEM: keys.encrypted, PASS: WRONG_PASSPHRASE}
    ended = _validate(env)
    shown = ended.stdout + ended.stderr
    assert ended.returncode != 0
    assert "SNOWFLAKE_PRIVATE_KEY_PASSPHRASE: the passphrase does not open the key" in shown
    assert not planted.found_in(shown)
    assert not _leaks(planted, Path(env["HOME"]).parent)


def _validate(env: Mapping[str, str]) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "dagster", "definitions", "validate", "-v"],
        cwd=CHECKOUT,
        env=dict(env),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def _leaks(planted: Planted, *roots: Path) -> dict[str, str]:
    """Every file below the folders that holds a piece of a secret, or whose name does."""
    found = {}
    for root in roots:
        for path in root.rglob("*"):
            piece = planted.found_in(str(path))
            if not piece and path.is_file() and not path.is_symlink():
                piece = planted.found_in(path.read_bytes())
            if piece:
                found[str(path)] = piece
    return found


# --- a run, and all that it leaves behind ----------------------------------------------------

CANARY = "canary_on_the_way_zq"
STOLEN = f"{CANARY}_stolen"


@dataclass(frozen=True)
class Run:
    """A finished `apollo build`, and what was seen of it while it ran."""

    env: Mapping[str, str]
    project: Path
    run_id: str
    output: str
    command_lines: frozenset[str]
    dbt_environment: str
    profile: str
    profile_mode: int

    @property
    def root(self) -> Path:
        """What holds its DAGSTER_HOME, HOME and TMPDIR."""
        return Path(self.env["HOME"]).parent

    @property
    def dbt_folder(self) -> Path:
        return Path(self.env["DAGSTER_HOME"]) / "tenants" / "small" / "runs" / self.run_id

    @property
    def prepared(self) -> Path:
        return Path(self.env["DAGSTER_HOME"]) / "tenants" / "small" / "prepared" / "dev"


@pytest.fixture(scope="module")
def run(
    copy_tenants: CopyTenants,
    apollo_env: MakeEnvironment,
    fakesnow_server: Snowflake,
    keys: Keys,
) -> Run:
    """A build with an encrypted key, of a project that fails and logs whatever it can reach.

    `adapter.config.credentials` leads any Jinja of the project to the key that dbt logs in with.
    """
    tenants_dir = copy_tenants(dbt_small=SMALL)
    project = tenants_dir / "dbt_small"
    with (project / "dbt_project.yml").open("a") as file:
        file.write(
            f"""
on-run-start:
  - "{{{{ log('{CANARY}_hook ' ~ target ~ invocation_args_dict, info=True) }}}}"
  - "{{{{ steal() }}}}"
  - "{{{{ log('{CANARY}_env ' ~ env_var('{PEM}', 'no') ~ env_var('{PASS}', 'no'), info=True) }}}}"
"""
        )
    (project / "macros" / "steal.sql").write_text(
        "{% macro steal() %}{% if execute %}\n"
        "  {% set key = adapter.config.credentials.private_key %}\n"
        f"  {{% do log('{STOLEN}' ~ (key | length) ~ '<' ~ key ~ '>', info=True) %}}\n"
        f"  {{% do log('{STOLEN}_debug<' ~ key ~ '>') %}}\n"
        f"  {{{{ print('{STOLEN}_print<' ~ key ~ '>') }}}}\n"
        "{% endif %}{% endmacro %}\n"
    )
    (project / "models" / "broken.sql").write_text(f"select * from {CANARY}_table")
    env = apollo_env(
        tenants_dir,
        **{
            **fakesnow_server.variables(keys.decrypted, "REDACT_DB"),
            "DBT_TARGET": "dev",
            "SNOWFLAKE_PRIVATE_KEY_PEM": keys.encrypted,
            "SNOWFLAKE_PRIVATE_KEY_PASSPHRASE": PASSPHRASE,
        },
    )
    return _watched_build(env, project, "--exclude", "resource_type:unit_test")


def _watched_build(env: Mapping[str, str], project: Path, *args: str) -> Run:
    command_lines: set[str] = set()
    dbt_environment, profile, mode = "", "", 0
    with (
        ThreadPoolExecutor(1) as pool,
        subprocess.Popen(
            [sys.executable, "-m", "dagster_apollo.cli", "build", "small", "--json", *args],
            cwd=CHECKOUT,
            env=dict(env),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process,
    ):
        ending = pool.submit(process.communicate)
        while not ending.done():
            for folder in _processes():
                line = _read(folder / "cmdline")
                command_lines.add(line)
                if "launcher.py build" in line and env["DAGSTER_HOME"] in _read(folder / "environ"):
                    dbt_environment = _read(folder / "environ")
            for path in Path(env["TMPDIR"]).glob("apollo-profiles-*/small/profiles.yml"):
                profile = _read(path)
                mode = stat.S_IMODE(path.stat().st_mode) if path.exists() else mode
            time.sleep(0.05)
        out, err = ending.result()
    summary = json.loads(out)["small"]
    return Run(
        env,
        project,
        summary["run_id"],
        out + err,
        frozenset(command_lines),
        dbt_environment,
        profile,
        mode,
    )


def _processes() -> Iterator[Path]:
    return (path for path in Path("/proc").iterdir() if path.name.isdigit())


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8", "replace").replace("\0", " ")
    except OSError:  # the process, or the file, is no more
        return ""


def test_the_key_reaches_the_environment_of_dbt_and_nothing_else_of_the_process(
    run: Run, planted: Planted
) -> None:
    assert planted.found_in(run.dbt_environment)  # so what follows would find it, too
    assert PASSPHRASE not in run.dbt_environment
    assert "SNOWFLAKE_PRIVATE_KEY_PEM" not in run.dbt_environment
    assert any("launcher.py build" in line for line in run.command_lines)
    assert not [line for line in run.command_lines if planted.found_in(line)]


def test_the_profile_is_private_and_holds_no_value_of_the_connection(
    run: Run, planted: Planted
) -> None:
    output = yaml.safe_load(run.profile)["apollo-snowflake"]["outputs"]["dev"]
    assert output["private_key"] == "{{ env_var('DBT_ENV_SECRET_SNOWFLAKE_PRIVATE_KEY') }}"
    assert run.profile_mode == 0o600
    assert not planted.found_in(run.profile)
    assert "REDACT_DB" not in run.profile
    assert not list(Path(run.env["TMPDIR"]).glob("apollo-profiles-*"))


def test_the_terminal_shows_the_failure_and_no_secret(run: Run, planted: Planted) -> None:
    assert f"{CANARY}_table".upper() in run.output.upper()
    assert not planted.found_in(run.output)


def test_the_log_of_dbt_shows_what_was_logged_less_the_key(run: Run, planted: Planted) -> None:
    log = (run.dbt_folder / "dbt.log").read_text()
    assert f"{CANARY}_hook" in log
    assert f"{CANARY}_env nono" in log
    assert "REDACT_DB" in log
    lengths = [int(it) for it in re.findall(rf"{STOLEN}(\d+)<", log)]
    assert lengths
    assert min(lengths) > 1500  # the macro did get hold of the key
    assert f"{STOLEN}{lengths[0]}<*****>" in log
    assert f"{STOLEN}_debug<*****>" in log
    assert not planted.found_in(log)


def test_the_event_log_holds_the_failure_and_no_secret(
    run: Run, open_home: OpenHome, planted: Planted
) -> None:
    with open_home(run.env) as instance:
        entries = [entry.to_json() for entry in instance.all_logs(run.run_id)]
        record = instance.get_run_by_id(run.run_id)
    assert f"{CANARY}_table".upper() in "\n".join(entries).upper()
    assert not [entry for entry in entries if planted.found_in(entry)]
    assert not planted.found_in(repr(record))


def test_the_compute_logs_show_what_was_logged_less_the_key(run: Run, planted: Planted) -> None:
    folder = Path(run.env["DAGSTER_HOME"]) / "storage" / run.run_id / "compute_logs"
    output = "".join(path.read_text() for path in folder.iterdir())
    assert f"{CANARY}_hook" in output
    assert STOLEN in output
    assert not planted.found_in(output)


def test_no_file_that_the_run_left_holds_a_secret(run: Run, planted: Planted) -> None:
    for path, canary in (
        (run.prepared / "manifest.json", CANARY),
        (run.prepared / "partial_parse.msgpack", CANARY),
        (run.dbt_folder / "run_results.json", f"{CANARY}_table"),
        (run.dbt_folder / "console.log", STOLEN),
        (Path(run.env["DAGSTER_HOME"]) / "history" / "runs" / f"{run.run_id}.db", CANARY),
    ):
        assert canary.upper().encode() in path.read_bytes().upper(), path
    assert not _leaks(planted, run.root, run.project)


def test_a_planted_file_would_have_been_found(
    run: Run, planted: Planted, keys: Keys, tmp_path: Path
) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "dbt.log").write_text(json.dumps({"msg": keys.encrypted}))
    assert list(_leaks(planted, tmp_path)) == [str(tmp_path / "logs" / "dbt.log")]


def test_plain_dbt_that_shows_its_connection_shows_no_secret(
    run: Run, run_apollo: RunApollo, planted: Planted
) -> None:
    ended = run_apollo(["dbt", "small", "--", "--debug", "debug"], run.env)
    assert ended.returncode == 0, ended.stdout
    assert "REDACT_DB" in ended.stdout
    assert not planted.found_in(ended.stdout + ended.stderr)
    assert not _leaks(planted, run.root, run.project)


def test_a_code_location_that_loads_leaves_no_secret(run: Run, planted: Planted) -> None:
    ended = _validate(run.env)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert not planted.found_in(ended.stdout + ended.stderr)
    assert not _leaks(planted, run.root)


def test_a_refused_login_leaves_no_secret(
    run: Run, keys: Keys, planted: Planted, open_home: OpenHome
) -> None:
    stranger = {key: value for key, value in run.env.items() if key != PASS}
    refused = _watched_build({**stranger, PEM: keys.plain}, run.project, "--select", "raw_orders")
    assert "JWT token is invalid" in refused.output
    assert not planted.found_in(refused.output)
    with open_home(run.env) as instance:
        entries = [entry.to_json() for entry in instance.all_logs(refused.run_id)]
    assert "JWT token is invalid" in "\n".join(entries)
    assert not [entry for entry in entries if planted.found_in(entry)]
    assert not _leaks(planted, run.root, run.project)


def test_a_model_that_reads_the_key_is_refused_and_shows_no_secret(
    run: Run, copy_tenants: CopyTenants, call_apollo: RunApollo, planted: Planted
) -> None:
    tenants_dir = copy_tenants(dbt_small=SMALL)
    (tenants_dir / "dbt_small" / "models" / "nosy.sql").write_text(
        "select '{{ env_var('DBT_ENV_SECRET_SNOWFLAKE_PRIVATE_KEY') }}' as stolen"
    )
    env = {**run.env, "APOLLO_TENANTS_DIR": str(tenants_dir)}
    ended = call_apollo(["prepare", "small"], env)
    assert ended.returncode == 2
    assert "Secret env vars are allowed only in" in ended.stderr
    assert not planted.found_in(ended.stdout + ended.stderr)
    assert not _leaks(planted, run.root, tenants_dir)
