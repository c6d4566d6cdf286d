"""Signing in at an OpenID Connect provider: discovery, PKCE, state and nonce are Authlib's.

Apollo decides who of the provider's people gets in, and with which role.
"""

import hashlib
import logging
import re
import time
import warnings
from collections.abc import Mapping
from typing import Any, Final

import anyio
import httpx
from authlib.common.errors import AuthlibBaseError  # type: ignore[import-untyped]
from joserfc.errors import JoseError
from starlette.requests import Request
from starlette.responses import RedirectResponse

from dagster_apollo.errors import ApolloError
from dagster_apollo.web.contract import WebSettings
from dagster_apollo.web.grants import greatest
from dagster_apollo.web.identity import Identity
from dagster_apollo.web.oidc_contract import OidcSettings

_GOOGLE: Final = "https://accounts.google.com"
_TIMEOUT_SECONDS: Final = 10
_ASK_AGAIN_SECONDS: Final = 5.0
_UNREACHABLE: Final = "The provider cannot be reached at the moment. Try again soon."
_ALGORITHMS: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384")
"""What an ID token may be signed with: keys that the provider alone has."""
_LONGEST_NAME: Final = 128
_ADDRESS: Final = re.compile(r"[^\s@:]+@[^\s@:]+")
"""A mail address that no other name looks like: those of tokens, say, hold a colon."""
_log = logging.getLogger("apollo.web")


class OidcError(ApolloError):
    """A sign-in at the provider failed; the text is for the person who tried."""


class NotAdmittedError(OidcError):
    """The provider knows the person, and the settings do not let them in."""


def admit(claims: Mapping[str, Any], settings: OidcSettings) -> Identity:
    """Who a person is to Apollo, by what the provider says of them.

    Raises:
        NotAdmittedError: they are not let in.
    """
    email = _text(claims.get("email")).lower()
    said = claims.get("email_verified")
    is_address = _is_name(email) and _ADDRESS.fullmatch(email) is not None
    verified = is_address and (said is True or said == "true")
    if settings.domains is not None:
        if not verified:
            raise NotAdmittedError("The provider does not say that your mail address is yours.")
        domain = email.rpartition("@")[2]
        if settings.issuer.rstrip("/") == _GOOGLE:
            # an address of a domain can belong to a private account; `hd` says that it does not
            domain = _text(claims.get("hd")).lower()
        if domain not in settings.domains:
            raise NotAdmittedError("Your mail domain is not let in here.")
    groups = claims.get(settings.groups_claim)
    names = [groups] if isinstance(groups, str) else groups if isinstance(groups, list) else []
    granted = [grant for group, grant in settings.grants.items() if group in names]
    grant = greatest(granted) or settings.default_grant
    if grant is None:
        raise NotAdmittedError("None of your groups is let in here.")
    return Identity(email if verified else _other_name(claims), grant, "oidc")


def _other_name(claims: Mapping[str, Any]) -> str:
    """The name of somebody whose mail address does not count."""
    for name in (_text(claims.get("preferred_username")), str(claims["sub"])):
        if _is_name(name):
            return f"oidc:{name}"
    return f"oidc:{hashlib.sha256(str(claims['sub']).encode(errors='surrogatepass')).hexdigest()}"


def _is_name(text: str) -> bool:
    """Whether a text can be shown as somebody's name."""
    return 0 < len(text) <= _LONGEST_NAME and text.isprintable()


def _text(value: object) -> str:
    """A claim that is to be a text; nothing where it is something else."""
    return value.strip() if isinstance(value, str) else ""


class Provider:
    """The provider, as Apollo talks to it.

    Args:
        settings: the front door's settings, with a provider and a public URL.
    """

    CALLBACK: Final = "/auth/oidc/callback"

    def __init__(self, settings: WebSettings) -> None:
        if settings.oidc is None or settings.public_url is None:
            raise ValueError("there is no provider")
        self._settings = settings.oidc
        self._asking = anyio.Lock()
        self._not_before = 0.0
        self._redirect_uri = f"{settings.public_url}{self.CALLBACK}"
        self._client = _oauth().register(
            "apollo",
            client_id=self._settings.client_id,
            client_secret=self._settings.client_secret.get_secret_value(),
            server_metadata_url=(
                f"{self._settings.issuer.rstrip('/')}/.well-known/openid-configuration"
            ),
            client_kwargs={
                "scope": self._settings.scopes,
                "code_challenge_method": "S256",
                "timeout": _TIMEOUT_SECONDS,
            },
        )

    async def redirect(self, request: Request) -> RedirectResponse:
        """Send somebody to the provider; what must be remembered is left in request.session.

        Raises:
            OidcError: the provider does not answer.
        """
        try:
            await self._load_metadata()
            response: RedirectResponse = await self._client.authorize_redirect(
                request, self._redirect_uri
            )
        except (httpx.HTTPError, ValueError, RuntimeError) as error:
            raise self._unavailable(error) from None
        return response

    async def identify(self, request: Request) -> tuple[Identity, str]:
        """Who came back from the provider, and the provider's own identifier of them.

        Raises:
            OidcError: the answer is not one to this browser's question, or cannot be verified.
            NotAdmittedError: it is, and they are not let in.
        """
        try:
            metadata = await self._load_metadata()
            token = await self._client.authorize_access_token(
                request,
                claims_options={
                    "iss": {"essential": True, "values": [metadata["issuer"]]},
                    "aud": {"essential": True, "value": self._settings.client_id},
                    "exp": {"essential": True},
                    "sub": {"essential": True},
                },
            )
            claims = await self._claims(token)
        except httpx.HTTPError as error:
            raise self._unavailable(error) from None
        except (AuthlibBaseError, JoseError, ValueError, KeyError, RuntimeError) as error:
            # their texts hold what the client sent
            _log.warning("A sign-in at the provider failed: %s", type(error).__name__)
            raise OidcError("The sign-in at the provider did not succeed. Try again.") from None
        return admit(claims, self._settings), str(claims["sub"])

    async def _load_metadata(self) -> Mapping[str, Any]:
        """The provider's configuration, asked for by one at a time.

        Where that fails it is not asked again for some seconds: anybody can have it asked.

        Raises:
            OidcError: it was asked in vain not long ago.
        """
        async with self._asking:
            if time.monotonic() < self._not_before:
                raise OidcError(_UNREACHABLE)
            try:
                return await self._ask_metadata()
            except Exception:
                self._not_before = time.monotonic() + _ASK_AGAIN_SECONDS
                raise

    async def _ask_metadata(self) -> Mapping[str, Any]:
        """The provider's configuration, whose issuer must be the one that was set."""
        metadata: dict[str, Any] = await self._client.load_server_metadata()
        if str(metadata.get("issuer")).rstrip("/") != self._settings.issuer.rstrip("/"):
            self._client.server_metadata.clear()
            raise ValueError("another issuer")
        offered = metadata.get("id_token_signing_alg_values_supported") or ["RS256"]
        metadata["id_token_signing_alg_values_supported"] = [
            name for name in offered if name in _ALGORITHMS
        ] or ["RS256"]
        return metadata

    async def _claims(self, token: Mapping[str, Any]) -> Mapping[str, Any]:
        """What the ID token says, and where that is not enough, what the provider adds to it."""
        identity: Mapping[str, Any] | None = token.get("userinfo")
        if not identity:
            raise ValueError("no ID token")
        wanted = {"email", "email_verified"} | (
            {self._settings.groups_claim} if self._settings.grants else set()
        )
        if wanted <= identity.keys() or "userinfo_endpoint" not in self._client.server_metadata:
            return identity
        more = await self._client.userinfo(token=dict(token))
        if more.get("sub") != identity["sub"]:
            raise ValueError("user information of somebody else")
        return {**more, **identity}

    def _unavailable(self, error: Exception) -> OidcError:
        _log.warning("The provider cannot be used: %s", type(error).__name__)
        return OidcError(_UNREACHABLE)


def _oauth() -> Any:  # noqa: ANN401
    """Authlib's registry; importing it says that httpx is deprecated (1.9), which is for us."""
    with warnings.catch_warnings(record=True):
        from authlib.integrations.starlette_client import (  # type: ignore[import-untyped]
            OAuth,
        )
    return OAuth()
