"""Separate hosts on one machine: mount namespaces, in which each sees its own disk at /opt/render.

The paths, DAGSTER_HOME among them, are thus the same on all hosts, as on Render, while what is
there is not. Root makes a namespace directly, others within a user namespace of their own. Network
and process ids stay shared. A namespace, and with it every mount, ends with its last process.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Literal

from tests.rehearsal.blueprint import ROOT, SOURCE

# $1: the host's folder; $2: what to run; then mounts: a folder, its place below /opt, rw or ro.
# /opt becomes a new folder with all that it held and /opt/render, so that nothing need be made on
# the machine itself, and nothing is left there.
_ENTER = f"""\
set -eu
folder=$1 command=$2 opt=$1/opt
shift 2
mount -t tmpfs -o size=1m rehearsal "$opt"
for entry in /opt/*; do
    name=${{entry#/opt/}}
    if [ -L "$entry" ]; then cp -P "$entry" "$opt/$name"
    elif [ -d "$entry" ] && [ "$name" != render ]; then
        mkdir "$opt/$name"
        mount --rbind "$entry" "$opt/$name"
    fi
done
mkdir "$opt/render"
mount --bind "$folder/disk" "$opt/render"
while [ $# -gt 0 ]; do
    mkdir -p "$opt/$2"
    mount -o "bind,$3" "$1" "$opt/$2"
    shift 3
done
mount --rbind "$opt" /opt
mount --bind "$folder/tmp" /tmp
cd {SOURCE}
exec bash -c "$command"
"""
VENV = f"{SOURCE}/.venv"
_PATH = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")


def unshare() -> list[str]:
    """The command that runs another one in a mount namespace of its own."""
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    return ["unshare", *user, "--mount", "--propagation", "private"]


def why_not() -> str | None:
    """Why hosts cannot be separated on this machine; None where they can."""
    if shutil.which("unshare") is None or shutil.which("bash") is None:
        return "there is no unshare (util-linux) or no bash"
    probe = [*unshare(), "mount", "-t", "tmpfs", "rehearsal", "/opt"]
    result = subprocess.run(probe, capture_output=True, text=True, check=False)
    if result.returncode:
        return f"mount namespaces are not allowed here: {result.stderr.strip()}"
    return None


@dataclass
class Running:
    """A command that runs on a host, and every process that it led to."""

    process: "subprocess.Popen[bytes]"
    log: Path
    namespace: str | None
    """None from when everything has ended; the system gives the number to another one then."""
    held: int | None
    """A file descriptor that keeps the namespace, and its number, until then."""

    @property
    def exit_code(self) -> int | None:
        return self.process.poll()

    def processes(self, containing: str = "") -> dict[int, str]:
        """The command lines of the processes in the namespace, whoever started them."""
        found: dict[int, str] = {}
        if self.namespace is None:
            return found
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):  # it ended meanwhile
                if os.readlink(folder / "ns" / "mnt") == self.namespace:  # noqa: PTH115
                    line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                    if line and containing in line:
                        found[int(folder.name)] = line.strip()
        return found

    def environment(self, pid: int) -> dict[str, str]:
        content = Path(f"/proc/{pid}/environ").read_text()
        return dict(item.split("=", 1) for item in content.split("\0") if "=" in item)

    def terminate(self) -> None:
        """What the platform does first: SIGTERM to the process of the start command."""
        self.process.send_signal(signal.SIGTERM)

    def wait(self, seconds: float) -> int | None:
        """The exit code; None where the command still runs after that time."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self.process.wait(seconds)
        return None

    def destroy(self) -> None:
        """End whatever is left on the host, at once."""
        for _ in range(50):
            processes = self.processes()
            for pid in processes:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self.process.poll()  # so that it is no zombie, which still has a namespace
            if not processes:
                break
            time.sleep(0.1)
        self.process.wait(10)
        self.namespace = None
        if self.held is not None:
            os.close(self.held)
            self.held = None

    def output(self) -> str:
        return self.log.read_text(errors="replace")


@dataclass(frozen=True)
class Mount:
    """A folder of the machine that a host sees, too.

    Args:
        folder: on the machine.
        place: on the host, below /opt.
        mode: whether the host may change it.
    """

    folder: Path
    place: str
    mode: Literal["ro", "rw"]


@dataclass
class Host:
    """A machine of its own, as far as what runs on it can tell from its files.

    Args:
        folder: holds the disk (at /opt/render), /tmp and the logs.
        mounts: what it sees besides.
    """

    folder: Path
    mounts: tuple[Mount, ...] = ()
    commands: list[Running] = field(default_factory=list)

    @classmethod
    def create(cls, folder: Path, *mounts: Mount) -> "Host":
        for name in ("disk/project/src", "tmp", "opt", "log"):
            (folder / name).mkdir(parents=True)
        (folder / "tmp").chmod(0o1777)
        return cls(folder, mounts)

    @classmethod
    def from_image(cls, image: "Host", folder: Path) -> "Host":
        """A host with a copy of what a build left; it sees the image's own .venv, unchangeable."""
        venv = image.source / ".venv"
        host = cls.create(folder, Mount(venv, VENV.removeprefix("/opt/"), "ro"))
        for entry in image.source.iterdir():
            if entry != venv:
                copy = ["cp", "-a", "--reflink=auto", str(entry), str(host.source)]
                subprocess.run(copy, check=True)
        return host

    @property
    def source(self) -> Path:
        """The source folder, as seen from outside."""
        return self.folder / "disk" / "project" / "src"

    def path(self, path: str) -> Path:
        """A path of the host (below /opt/render), as seen from outside."""
        return self.folder / "disk" / Path(path).relative_to(ROOT)

    def start(self, command: str, variables: Mapping[str, str], name: str) -> Running:
        """Start a command in the source folder, with these variables and no others."""
        log = self.folder / "log" / f"{name}.log"
        with log.open("ab") as output:
            process = self._spawn(command, variables, output)
        running = Running(process, log, *self._namespace_of(process))
        self.commands.append(running)
        return running

    def run(self, command: str, variables: Mapping[str, str], name: str, seconds: float) -> str:
        """Run a command to its end, and return its output.

        Raises:
            AssertionError: it failed, or took longer.
        """
        running = self.start(command, variables, name)
        code = running.wait(seconds)
        running.destroy()
        assert code == 0, f"{name}: `{command}` gave {code}:\n{running.output()[-6000:]}"
        return running.output()

    def destroy(self) -> None:
        """End what runs there, and remove the disk."""
        for running in self.commands:
            running.destroy()
        # many files, and `rm` takes a tenth of the time of shutil.rmtree
        subprocess.run(["rm", "-rf", "--one-file-system", str(self.folder)], check=False)

    def _spawn(
        self, command: str, variables: Mapping[str, str], output: BinaryIO
    ) -> "subprocess.Popen[bytes]":
        mounts = [it for m in self.mounts for it in (str(m.folder), m.place, m.mode)]
        return subprocess.Popen(
            [*unshare(), "sh", "-c", _ENTER, "sh", str(self.folder), command, *mounts],
            env={
                "HOME": ROOT,
                "PATH": os.pathsep.join((f"{VENV}/bin", *_PATH)),
                "LANG": "C.UTF-8",
                **variables,
            },
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def _namespace_of(self, process: "subprocess.Popen[bytes]") -> tuple[str | None, int | None]:
        """The namespace, once the process is in it; what it then runs has the same id."""
        path = f"/proc/{process.pid}/ns/mnt"
        own = os.readlink("/proc/self/ns/mnt")  # noqa: PTH115
        while process.poll() is None:
            with contextlib.suppress(OSError):
                held = os.open(path, os.O_RDONLY)
                if (namespace := os.readlink(path)) != own:  # noqa: PTH115
                    return namespace, held
                os.close(held)
            time.sleep(0.005)
        return None, None
