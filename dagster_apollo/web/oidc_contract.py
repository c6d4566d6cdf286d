"""The environment of the OpenID Connect provider: where it is, and whom of its people to let in."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar, Final

from pydantic import SecretStr

from dagster_apollo.contract import Environment, Line, validate
from dagster_apollo.errors import Problem
from dagster_apollo.web.addresses import is_loopback, items, split_url
from dagster_apollo.web.grants import GRANT_TEXT, Grant

ANY: Final = "*"


class OidcEnvironment(Environment):
    """The variables of the provider."""

    mends: ClassVar[Mapping[str, str]] = {
        "APOLLO_OIDC_ISSUER": "Set it to the provider's issuer URL, https://...",
        "APOLLO_OIDC_CLIENT_ID": "Set it to the client id that the provider gave for Apollo",
        "APOLLO_OIDC_CLIENT_SECRET": "Set it to the client secret that the provider gave",
        "APOLLO_OIDC_DOMAINS": "Set it to comma-separated mail domains, such as example.com",
        "APOLLO_OIDC_GROUPS_CLAIM": "Set it to the name of the claim that lists the groups",
        "APOLLO_OIDC_ROLES": f"Set it to group=role,... where a role is {GRANT_TEXT}",
        "APOLLO_OIDC_DEFAULT_ROLE": f"Set it to {GRANT_TEXT}, or unset it",
        "APOLLO_OIDC_SCOPES": "Set it to blank-separated scopes, openid among them, or unset it",
    }

    apollo_oidc_issuer: Line | None = None
    apollo_oidc_client_id: Line | None = None
    apollo_oidc_client_secret: SecretStr | None = None
    apollo_oidc_domains: Line = ""
    apollo_oidc_groups_claim: Line = "groups"
    apollo_oidc_roles: Line = ""
    apollo_oidc_default_role: Line | None = None
    apollo_oidc_scopes: Line = "openid email profile"


@dataclass(frozen=True)
class OidcSettings:
    """An OpenID Connect provider, and whom of its people to let in.

    Args:
        issuer: the provider's identifier, below which its configuration is found.
        client_id: Apollo's name there.
        client_secret: Apollo's secret there.
        domains: mail domains whose verified addresses are let in; None: whatever the address.
        groups_claim: the claim that lists a person's groups.
        grants: what a group may do.
        default_grant: what a person in no such group may do; None: they are refused.
        scopes: what the provider is asked for.
    """

    issuer: str
    client_id: str
    client_secret: SecretStr
    domains: frozenset[str] | None
    groups_claim: str
    grants: Mapping[str, Grant]
    default_grant: Grant | None
    scopes: str


def load_oidc(environ: Mapping[str, str], problems: list[Problem]) -> OidcSettings | None:
    """Read the provider's variables; None where there is no provider, or something is wrong."""
    found: list[Problem] = []
    values = validate(OidcEnvironment, environ, str, found)
    faults: dict[str, str] = {}
    settings = None
    if values.apollo_oidc_issuer or values.apollo_oidc_client_id:
        faults.update(_connection_faults(values))
        settings = _settings(values, faults)
    reported = {problem.variable for problem in found}
    found += [
        Problem(name, what, OidcEnvironment.mends[name])
        for name, what in faults.items()
        if name not in reported
    ]
    problems += found
    return None if found else settings


def _connection_faults(values: OidcEnvironment) -> Iterator[tuple[str, str]]:
    for name in ("APOLLO_OIDC_ISSUER", "APOLLO_OIDC_CLIENT_ID", "APOLLO_OIDC_CLIENT_SECRET"):
        if getattr(values, name.lower()) is None:
            yield name, "is not set beside the other APOLLO_OIDC_ variables"
    if values.apollo_oidc_issuer:
        url = split_url(values.apollo_oidc_issuer)
        if url is None or not (url.scheme == "https" or is_loopback(url.hostname or "")):
            yield "APOLLO_OIDC_ISSUER", "is not an https:// URL"
    if "openid" not in values.apollo_oidc_scopes.split():
        yield "APOLLO_OIDC_SCOPES", "does not name the scope openid"


def _settings(values: OidcEnvironment, faults: dict[str, str]) -> OidcSettings:
    grants: dict[str, Grant] = {}
    for item in items(values.apollo_oidc_roles):
        group, _, role = item.rpartition("=")  # a group's own name may hold one
        try:
            grants[group.strip()] = Grant.parse(role.strip())
        except ValueError:
            faults["APOLLO_OIDC_ROLES"] = "has an item that is not group=role"
    if "" in grants:
        faults["APOLLO_OIDC_ROLES"] = "has an item that is not group=role"
    default_grant = None
    if values.apollo_oidc_default_role:
        try:
            default_grant = Grant.parse(values.apollo_oidc_default_role)
        except ValueError as error:
            faults["APOLLO_OIDC_DEFAULT_ROLE"] = str(error)
    domains = {item.lower().removeprefix("@") for item in items(values.apollo_oidc_domains)}
    if default_grant and not domains:
        faults["APOLLO_OIDC_DOMAINS"] = (
            "is not set: with APOLLO_OIDC_DEFAULT_ROLE, everybody who has an account at the "
            f"provider would get in (where that is meant, set it to {ANY})"
        )
    if not grants and not values.apollo_oidc_default_role:
        faults.setdefault(
            "APOLLO_OIDC_ROLES",
            "is not set, nor is APOLLO_OIDC_DEFAULT_ROLE: nobody would get in",
        )
    return OidcSettings(
        issuer=values.apollo_oidc_issuer or "",
        client_id=values.apollo_oidc_client_id or "",
        client_secret=values.apollo_oidc_client_secret or SecretStr(""),
        domains=frozenset(domains) if domains - {ANY} else None,
        groups_claim=values.apollo_oidc_groups_claim,
        grants=grants,
        default_grant=default_grant,
        scopes=values.apollo_oidc_scopes,
    )
