"""The platform: builds a release, deploys it as render.yaml says, and retires the one before.

Faithful to Render: a service is built with its own variables in an empty home; preDeployCommand
runs in a place of its own before the start; a new instance runs beside the old one, gets new
connections once it is healthy, and some time later the old one gets SIGTERM and, at last, SIGKILL.
Different from Render: the virtual environment is made once and shared, ports are handed out anew
for each instance (network addresses are shared here), and times are shortened.
"""

import base64
import hashlib
import http.client
import secrets
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from dagster_apollo.paths import CHECKOUT
from tests.rehearsal.blueprint import (
    Address,
    Answers,
    Blueprint,
    Service,
    render_variables,
)
from tests.rehearsal.hosts import VENV, Host, Mount, Running
from tests.rehearsal.router import Router
from tests.rehearsal.source import copy_source, find_python, installer_variables

BUILD_SECONDS = 900
START_SECONDS = 180
_LOOK_EVERY_SECONDS = 0.25
_CACHE = CHECKOUT / ".cache" / "rehearsal" / "pip"

Progress = Callable[[str], None]


def say_since(begun: float) -> Progress:
    """Lines that a person can follow: `[ 42 s] dagster-code: up`."""

    def say(text: str) -> None:
        print(f"[{time.monotonic() - begun:3.0f} s] {text}", flush=True)

    return say


@dataclass(frozen=True)
class Pace:
    """Render's times, and what they are here.

    Args:
        overlap_seconds: from the new instance's first connection to the old one's SIGTERM; 60.
        shutdown_scale: of maxShutdownDelaySeconds.
    """

    overlap_seconds: float = 5
    shutdown_scale: float = 1 / 20

    def shutdown_seconds(self, service: Service) -> int:
        return max(5, round(service.max_shutdown_delay_seconds * self.shutdown_scale))


@dataclass(frozen=True)
class Release:
    """A commit, and what is different from this checkout in it.

    Args:
        commit: its name.
        edit: changes the copy of the source.
        variables: set in the dashboard, over those of the file; by the service's name, or of all.
    """

    commit: str
    edit: Callable[[Path], None] = lambda _source: None
    variables: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


@dataclass
class Instance:
    """A running service."""

    service: Service
    release: Release
    host: Host
    running: Running
    port: int
    retired_in: float | None = None
    """Seconds from SIGTERM to the end."""
    was_killed: bool = False

    @property
    def address(self) -> Address:
        return Address("127.0.0.1", self.port)

    def look(self) -> None:
        """Make sure that it runs.

        Raises:
            AssertionError: it has ended; its output is in the text.
        """
        code = self.running.exit_code
        assert code is None, (
            f"{self.service.name} has ended with {code}:\n{self.running.output()[-6000:]}"
        )


class Platform:
    """One machine that stands for Render's.

    Args:
        blueprint: what to run.
        root: a folder for the hosts.
        databases: connection strings, by the names that the Blueprint has for them.
        given: values of the variables that a person fills in.
        overrides: variables that only the rehearsal needs, by the service's name.
        say: told of each step.
        pace: how much time is shortened.
    """

    def __init__(
        self,
        blueprint: Blueprint,
        root: Path,
        *,
        databases: Mapping[str, str],
        given: Mapping[str, str],
        overrides: Mapping[str, Mapping[str, str]],
        say: Progress,
        pace: Pace | None = None,
    ) -> None:
        self.blueprint = blueprint
        self.pace = pace or Pace()
        self.say = say
        self.instances: dict[str, Instance] = {}
        self.router = Router()
        self._root = root
        self._count = 0
        self._venv: Path | None = None
        self._hosts: list[Host] = []
        self._generated: dict[tuple[str, str], str] = {}
        self._overrides = overrides
        self.answers = Answers(
            databases=databases,
            addresses={
                service.name: self.router.listen(service.name)
                for service in blueprint.services.values()
                if service.listens
            },
            given=given,
            generate=self._generate,
        )

    @property
    def public(self) -> Address:
        """Where people reach the web service."""
        web = next(it for it in self.blueprint.services.values() if it.type == "web")
        return self.answers.addresses[web.name]

    def variables(self, service: Service, release: Release) -> dict[str, str]:
        """All that a service's commands find in their environment, but for what is Render's."""
        return {
            **self.blueprint.variables(service.name, self.answers),
            **self._overrides.get(service.name, {}),
            **release.variables.get("all", {}),
            **release.variables.get(service.name, {}),
            "APOLLO_SHUTDOWN_SECONDS": str(self.pace.shutdown_seconds(service)),
        }

    def value(self, name: str, key: str) -> str:
        """The value of a service's variable, as the dashboard would show it."""
        return self.blueprint.variables(name, self.answers)[key]

    def deploy(self, release: Release, *names: str) -> list[Instance]:
        """Deploy a release to the named services, or all, and return the instances that it ended.

        Raises:
            AssertionError: a command failed, or an instance did not become healthy.
        """
        services = [self.blueprint.services[name] for name in names or self.blueprint.services]
        images = self.build(release, services)
        with ThreadPoolExecutor(len(services)) as pool:
            # all at once, as Render may: it deploys each service by itself
            list(pool.map(lambda it: self._pre_deploy(it, release, images[it.name]), services))
            fresh = [self._start(it, release, images[it.name]) for it in services]
            old = [
                self.instances[it.service.name] for it in fresh if it.service.name in self.instances
            ]
            list(pool.map(self._go_live, fresh))
            if old:
                self.say(f"both releases run side by side for {self.pace.overlap_seconds:g} s")
                time.sleep(self.pace.overlap_seconds)
            list(pool.map(self._retire, old))
        return old

    def build(self, release: Release, services: list[Service]) -> dict[str, Host]:
        """Run the build command of each service; of two that are the same, once."""
        images: dict[str, Host] = {}
        for service in services:
            if service.build_command in images:
                self.say(f"{service.name}: built with the same command, so it shares the image")
                continue
            image = self._image(release)
            variables = {
                **installer_variables(),
                **self.variables(service, release),
                **self._render_variables(service, release),
            }
            begun = time.monotonic()
            image.run(service.build_command, variables, "build", BUILD_SECONDS)
            self._venv = self._venv or image.source / ".venv"
            self.say(f"{service.name}: built in {time.monotonic() - begun:.0f} s")
            images[service.build_command] = image
        return {service.name: images[service.build_command] for service in services}

    def start_again(self, instance: Instance) -> Running:
        """Run the start command once more where an instance is, as if Render restarted it."""
        pid = instance.running.process.pid
        variables = instance.running.environment(pid)
        instance.running.terminate()
        instance.running.wait(self.pace.shutdown_seconds(instance.service))
        return instance.host.start(instance.service.start_command, variables, "again")

    def is_healthy(self, instance: Instance) -> bool:
        """What Render checks: a path over HTTP, or that the port is open, or that it runs."""
        instance.look()
        path = instance.service.health_check_path
        if path:
            return 200 <= self.get(path, instance.address) < 400
        if not instance.service.listens:
            return True
        with socket.socket() as probe:
            probe.settimeout(1)
            return probe.connect_ex((instance.address.host, instance.port)) == 0

    def get(self, path: str, address: Address | None = None) -> int:
        """The status of a page, asked for by the public name, of all instances or of one; or 0."""
        where = address or self.public
        connection = http.client.HTTPConnection(where.host, where.port, timeout=5)
        try:
            connection.request("GET", path, headers={"Host": str(self.public)})
            return connection.getresponse().status
        except (OSError, http.client.HTTPException):
            return 0
        finally:
            connection.close()

    def wait(self, what: str, look: Callable[[], bool], seconds: float = START_SECONDS) -> None:
        """Wait until something holds, as long as all instances run."""
        deadline = time.monotonic() + seconds
        while not look():
            for instance in self.instances.values():
                instance.look()
            assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}\n{self.logs()}"
            time.sleep(_LOOK_EVERY_SECONDS)

    def logs(self) -> str:
        """The end of what each instance has printed."""
        return "\n".join(
            f"== {name}\n{instance.running.output()[-3000:]}"
            for name, instance in self.instances.items()
        )

    def close(self) -> None:
        """End everything, and remove it."""
        for host in self._hosts:
            host.destroy()
        self.router.close()

    def _generate(self, owner: str, key: str) -> str:
        """A random value of 256 bits, which stays what it is."""
        value = base64.b64encode(secrets.token_bytes(32)).decode()
        return self._generated.setdefault((owner, key), value)

    def _folder(self, name: str) -> Path:
        self._count += 1
        return self._root / f"{self._count:02}-{name}"

    def _image(self, release: Release) -> Host:
        """A host with the source and a virtual environment: new, or what the last build left."""
        _CACHE.mkdir(parents=True, exist_ok=True)
        cache = Mount(_CACHE, "render/.cache/pip", "rw")
        image = Host.create(self._folder("image"), cache)
        self._hosts.append(image)
        copy_source(image.source)
        release.edit(image.source)
        if self._venv:
            subprocess.run(["cp", "-al", str(self._venv), str(image.source)], check=True)
        else:
            version = self._python_version()
            python = find_python(version)
            image.run(f"{python} -m venv {VENV}", {}, "venv", BUILD_SECONDS)
            found = image.run(f"{VENV}/bin/python --version", {}, "python", 30).strip()
            self.say(f"{found} stands in for Python {version}")
        return image

    def _python_version(self) -> str:
        name = next(iter(self.blueprint.services))
        return self.blueprint.variables(name, self.answers)["PYTHON_VERSION"]

    def _render_variables(
        self, service: Service, release: Release, port: int | None = None
    ) -> dict[str, str]:
        instance = f"srv-{hashlib.sha256(service.name.encode()).hexdigest()[:20]}-{self._count}"
        return render_variables(
            service, commit=release.commit, instance=instance, port=port, public=self.public
        )

    def _pre_deploy(self, service: Service, release: Release, image: Host) -> None:
        if service.pre_deploy_command is None:
            return
        host = self._host(image, f"{service.name}-pre-deploy")
        variables = self.variables(service, release) | self._render_variables(service, release)
        begun = time.monotonic()
        output = host.run(service.pre_deploy_command, variables, "pre-deploy", START_SECONDS)
        steps = "; ".join(line.strip() for line in output.splitlines())
        self.say(f"{service.name}: pre-deploy in {time.monotonic() - begun:.0f} s: {steps}")
        host.destroy()

    def _host(self, image: Host, name: str) -> Host:
        host = Host.from_image(image, self._folder(name))
        self._hosts.append(host)
        return host

    def _start(self, service: Service, release: Release, image: Host) -> Instance:
        host = self._host(image, service.name)
        port = free_port()
        variables = {
            **self.variables(service, release),
            **self._render_variables(service, release, port),
        }
        running = host.start(service.start_command, variables, "service")
        self.say(f"{service.name}: starting (release {release.commit[:7]}, port {port})")
        return Instance(service, release, host, running, port)

    def _go_live(self, instance: Instance) -> None:
        begun = time.monotonic()
        while not self.is_healthy(instance):
            assert time.monotonic() - begun < START_SECONDS, (
                f"{instance.service.name} is not healthy:\n{instance.running.output()[-6000:]}"
            )
            time.sleep(_LOOK_EVERY_SECONDS)
        name = instance.service.name
        if instance.service.listens:
            self.router.route(name, instance.port)
        self.instances[name] = instance
        self.say(f"{name}: live after {time.monotonic() - begun:.0f} s")

    def _retire(self, instance: Instance) -> None:
        name, begun = instance.service.name, time.monotonic()
        instance.running.terminate()
        code = instance.running.wait(self.pace.shutdown_seconds(instance.service))
        instance.retired_in = time.monotonic() - begun
        instance.was_killed = code is None
        instance.host.destroy()
        how = "killed" if code is None else f"ended with {code}"
        self.say(
            f"{name}: the old instance {how} after {instance.retired_in:.1f} s; its disk is gone"
        )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
