"""The environment of the front door: who may sign in, and where it is reached."""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Annotated, ClassVar, Final

from pydantic import AfterValidator, Field, SecretStr

from dagster_apollo.contract import Environment, Line, validate
from dagster_apollo.environment import read_environment
from dagster_apollo.errors import ConfigurationError, Problem
from dagster_apollo.web.addresses import LOOPBACK_NAMES, host_of, is_loopback, items, split_url
from dagster_apollo.web.oidc_contract import ANY, OidcSettings, load_oidc
from dagster_apollo.web.passwords import LONGEST_PASSWORD, UserEntry, admin_entry, parse_users

_LEAST_SECRET: Final = 32
_LEAST_PASSWORD: Final = 12


def _long_enough(least: int, most: int | None = None) -> AfterValidator:
    def check(value: SecretStr) -> SecretStr:
        if most is not None and len(value.get_secret_value()) > most:
            raise ValueError(f"is longer than {most} characters, and could not sign in")
        if len(value.get_secret_value()) < least:
            raise ValueError(f"is shorter than {least} characters")
        return value

    return AfterValidator(check)


class WebEnvironment(Environment):
    """The variables that only the webserver reads, but for the provider's."""

    mends: ClassVar[Mapping[str, str]] = {
        "APOLLO_SESSION_SECRET": (
            "Set it to 32 or more random characters, such as those of `openssl rand -base64 48`"
        ),
        "APOLLO_SESSION_HOURS": "Set it to hours from 1 to 720, or unset it",
        "APOLLO_ADMIN_PASSWORD": "Set it to a password of 12 or more characters, or unset it",
        "APOLLO_USERS": "Make each entry with `apollo user hash NAME --role ROLE`",
        "APOLLO_PUBLIC_URL": "Set it to the address that people type, https://HOST",
        "RENDER_EXTERNAL_URL": "Leave it to Render, or set APOLLO_PUBLIC_URL",
        "APOLLO_ALLOWED_HOSTS": "Set it to comma-separated host names, or unset it",
        "APOLLO_TRUSTED_PROXIES": "Set it to comma-separated addresses or networks, *, or unset it",
    }

    apollo_session_secret: Annotated[SecretStr, _long_enough(_LEAST_SECRET)] | None = None
    apollo_session_hours: Annotated[int, Field(ge=1, le=720)] = 12
    apollo_admin_password: (
        Annotated[SecretStr, _long_enough(_LEAST_PASSWORD, LONGEST_PASSWORD)] | None
    ) = None
    apollo_users: SecretStr = SecretStr("")
    apollo_public_url: Line | None = None
    render_external_url: Line | None = None
    apollo_allowed_hosts: Line = ""
    apollo_trusted_proxies: Line = ""


@dataclass(frozen=True)
class WebSettings:
    """What the front door works with; every value is checked.

    Args:
        users: those who sign in by password.
        oidc: the OpenID Connect provider; None where there is none.
        session_secret: signs the cookies; None where nobody has to sign in.
        session_lifetime: how long a session lasts.
        public_url: where people reach the UI, without a path; None where it was not said.
        hosts: the host names by which it may be reached, in lower case.
        trusted_proxies: addresses and networks whose X-Forwarded-* headers are believed.
    """

    users: Mapping[str, UserEntry] = field(repr=False)
    oidc: OidcSettings | None
    session_secret: SecretStr | None
    session_lifetime: timedelta
    public_url: str | None
    hosts: frozenset[str]
    trusted_proxies: tuple[str, ...]

    @property
    def requires_sign_in(self) -> bool:
        """Whether there is a way to sign in, and so nobody gets in without."""
        return bool(self.users) or self.oidc is not None

    @property
    def is_https(self) -> bool:
        """Whether people reach the UI over TLS, as far as was said."""
        return (self.public_url or "").startswith("https://")


def load_web(bind: str, environ: Mapping[str, str] | None = None) -> WebSettings:
    """Read and check the environment of the front door.

    Args:
        bind: the address that the webserver is going to listen at.
        environ: the variables; by default those that `read_environment` gives.

    Raises:
        ConfigurationError: anything is missing or wrong; it lists all problems.
    """
    environ = read_environment() if environ is None else environ
    problems: list[Problem] = []
    values = validate(WebEnvironment, environ, str, problems)
    users = _users(values, problems)
    oidc = load_oidc(environ, problems)
    problems += _sign_in_problems(
        values, problems, bind=bind, sign_in=bool(users) or oidc is not None
    )
    url = _public_url(values, problems, sign_in=bool(users) or oidc is not None)
    hosts = _hosts(values, url, bind, problems)
    if url is None and (oidc or not hosts):
        why = "the provider sends people back to it" if oidc else "any other host is refused"
        problems.append(_problem("APOLLO_PUBLIC_URL", f"is not set, and {why}"))
    proxies = _proxies(values, problems)
    if problems:
        raise ConfigurationError(problems)
    return WebSettings(
        users=users,
        oidc=oidc,
        session_secret=values.apollo_session_secret,
        session_lifetime=timedelta(hours=values.apollo_session_hours),
        public_url=url,
        hosts=hosts,
        trusted_proxies=proxies,
    )


def _problem(variable: str, what: str) -> Problem:
    return Problem(variable, what, WebEnvironment.mends[variable])


def _users(values: WebEnvironment, problems: list[Problem]) -> dict[str, UserEntry]:
    entries, faults = parse_users(values.apollo_users.get_secret_value())
    problems += [_problem("APOLLO_USERS", fault) for fault in faults]
    users = {entry.name: entry for entry in entries}
    if values.apollo_admin_password:
        admin = admin_entry(values.apollo_admin_password)
        if admin.name in users:
            what = f"is set beside an entry of the same user, {admin.name}, in APOLLO_USERS"
            problems.append(Problem("APOLLO_ADMIN_PASSWORD", what, "Keep one of the two"))
        users[admin.name] = admin
    return users


def _sign_in_problems(
    values: WebEnvironment, problems: list[Problem], *, bind: str, sign_in: bool
) -> list[Problem]:
    reported = {problem.variable for problem in problems}
    if sign_in:
        missing = values.apollo_session_secret is None
        if missing and "APOLLO_SESSION_SECRET" not in reported:
            return [_problem("APOLLO_SESSION_SECRET", "is not set, and signs the sessions")]
        return []
    attempted = ("APOLLO_ADMIN_", "APOLLO_USERS", "APOLLO_OIDC_")
    exposure = _exposure(values, bind)
    if exposure is None or any(name.startswith(attempted) for name in reported):
        return []
    return [
        Problem(
            "APOLLO_ADMIN_PASSWORD",
            f"is not set, nor is APOLLO_USERS or APOLLO_OIDC_ISSUER: {exposure}, everybody who "
            "reaches this host would be an admin",
            "Set one of them, or keep it to this machine: listen at 127.0.0.1 alone (--host), "
            "and name no other host and no proxy",
        )
    ]


def _exposure(values: WebEnvironment, bind: str) -> str | None:
    """What says that others can reach it than those who work on this machine; None: nothing.

    A proxy that runs on the machine brings everybody in by the loopback address.
    """
    if not is_loopback(bind):
        return f"at {bind}"
    urls = {
        "APOLLO_PUBLIC_URL": values.apollo_public_url,
        "RENDER_EXTERNAL_URL": values.render_external_url,
    }
    for name, text in urls.items():
        url = split_url(text) if text else None
        if text and (url is None or not is_loopback(url.hostname or "")):
            return f"reached by {name}"
    if not all(map(is_loopback, items(values.apollo_allowed_hosts))):
        return "reached by APOLLO_ALLOWED_HOSTS"
    return "behind APOLLO_TRUSTED_PROXIES" if values.apollo_trusted_proxies else None


def _public_url(values: WebEnvironment, problems: list[Problem], *, sign_in: bool) -> str | None:
    for name in ("APOLLO_PUBLIC_URL", "RENDER_EXTERNAL_URL"):
        text = getattr(values, name.lower())
        if text:
            url = split_url(text)
            if url is None or url.path.strip("/") or url.query or url.fragment or url.username:
                problems.append(_problem(name, "is not https://HOST, without a path"))
                return "http://localhost"  # stands in, so that nothing else is reported for it
            if sign_in and url.scheme == "http" and not is_loopback(url.hostname or ""):
                what = "is not https, without which browsers do not keep a session"
                problems.append(_problem(name, what))
            return f"{url.scheme}://{url.netloc.lower()}"
    return None


def _hosts(
    values: WebEnvironment, url: str | None, bind: str, problems: list[Problem]
) -> frozenset[str]:
    allowed = [item.strip("[]") for item in items(values.apollo_allowed_hosts)]
    hosts = {host_of(f"[{item}]" if ":" in item else item) for item in allowed}
    if "" in hosts or ANY in hosts:
        problems.append(
            _problem("APOLLO_ALLOWED_HOSTS", "has an item that is not the name of a host")
        )
    if url:
        hosts.add(host_of(url.partition("://")[2]))
    if is_loopback(bind):
        hosts.update(LOOPBACK_NAMES, {bind.strip("[]")})
    return frozenset(hosts)


def _proxies(values: WebEnvironment, problems: list[Problem]) -> tuple[str, ...]:
    proxies = items(values.apollo_trusted_proxies)
    if proxies == [ANY]:
        return (ANY,)
    for proxy in proxies:
        try:
            ipaddress.ip_network(proxy)
        except ValueError:
            what = "has an item that is neither an address nor a network"
            problems.append(_problem("APOLLO_TRUSTED_PROXIES", what))
            break
    return tuple(proxies)
