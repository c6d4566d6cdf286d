"""A checkout that nobody may write to, and a tenant on another volume: both by real mounts."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from dagster_apollo.paths import CHECKOUT
from tests.integration.conftest import CopyTenants, MakeEnvironment
from tests.rehearsal import hosts

pytestmark = pytest.mark.integration

# $1: the checkout; $2: a folder that becomes a volume of its own; then how to call `apollo`
_MOUNTS = """\
set -eu
checkout=$1 volume=$2
shift 2
cp -R "$volume" "$volume.copy"
mount -t tmpfs -o size=16m volume "$volume"
cp -R "$volume.copy/." "$volume"
mount -o remount,ro "$volume"
mount --bind "$checkout" "$checkout"
mount -o remount,bind,ro "$checkout"
for folder in "$checkout/tenants/dbt_near" "$volume"; do
    ! touch "$folder/new" 2>/dev/null
    stat -c %d "$folder"
done
"$@" prepare needs >"$HOME/needs" 2>&1 || echo $?
exec "$@" build near far --json
"""


@dataclass(frozen=True)
class Outcome:
    """What came of `apollo prepare` and `apollo build` there."""

    tenants_dir: Path
    devices: tuple[str, str]
    needs: tuple[str, str]
    """The exit code and the words of the preparation of a tenant that has packages to install."""
    build: dict[str, dict[str, object]]


def project(folder: Path) -> Path:
    (folder / "models").mkdir(parents=True)
    (folder / "seeds").mkdir()
    (folder / "dbt_project.yml").write_text("name: shop\nversion: '1.0'\nprofile: default\n")
    (folder / "seeds" / "raw.csv").write_text("n\n1\n2\n")
    (folder / "models" / "total.sql").write_text("select sum(n) as n from {{ ref('raw') }}")
    return folder


@pytest.fixture(scope="module")
def outcome(
    copy_tenants: CopyTenants,
    apollo_env: MakeEnvironment,
    tmp_path_factory: pytest.TempPathFactory,
) -> Outcome:
    """near is in the checkout; far is a link to another volume; needs has packages to install."""
    if reason := hosts.why_not():
        pytest.skip(reason)
    root = tmp_path_factory.mktemp("volumes")
    tenants_dir = copy_tenants(dbt_near=project(root / "near"), dbt_needs=project(root / "needs"))
    packages = "packages:\n  - local: ../../dbt/apollo\n"
    (tenants_dir / "dbt_needs" / "packages.yml").write_text(packages)
    (tenants_dir / "dbt_far").symlink_to(project(root / "far"))
    env = apollo_env(tenants_dir)
    ended = subprocess.run(
        [
            *(*hosts.unshare(), "sh", "-c", _MOUNTS, "sh"),
            *(str(tenants_dir.parent), str(root / "far")),
            *(sys.executable, "-m", "dagster_apollo.cli"),
        ],
        cwd=CHECKOUT,
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert ended.returncode == 0, ended.stderr
    near, far, code, build = ended.stdout.split("\n", 3)
    said = Path(env["HOME"], "needs").read_text()
    return Outcome(tenants_dir, (near, far), (code, said), json.loads(build))


def test_tenants_that_nobody_may_write_to_build_wherever_they_are(outcome: Outcome) -> None:
    assert len(set(outcome.devices)) == 2
    counts = {name: (it["status"], it["success"]) for name, it in outcome.build.items()}
    assert counts == dict.fromkeys(("far", "near"), ("success", 2))


def test_packages_that_cannot_be_installed_there_fail_with_the_folder_and_the_mend(
    outcome: Outcome,
) -> None:
    code, said = outcome.needs
    assert code == "2"
    assert "Read-only file system" in said
    assert "dbt_needs" in said
    assert "Traceback" not in said
