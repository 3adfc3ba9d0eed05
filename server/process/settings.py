"""What an operator sets, read from the environment once, at start."""

# ruff: noqa: RUF009 - `setting` makes a dataclass field; ruff takes its result for a default that instances share.

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, fields
from difflib import get_close_matches
from pathlib import Path
from secrets import token_urlsafe
from tempfile import NamedTemporaryFile
from typing import Any, Literal, NamedTuple, Self

from throttled import Quota

from server.process.environment import (
    CLAIM,
    DATABASE_URL,
    HOST,
    NETWORKS,
    ORIGINS,
    PATH,
    PUBLIC_KEYS_URL,
    RATE,
    REDIS_URL,
    SECONDS,
    SECRET,
    SECRET_FILE,
    URL_HOSTS,
    WORDS,
    Kind,
    choice,
    is_loopback,
    setting,
    whole_number,
    whole_number_or_off,
)

PREFIX = "VIDEOCREDITS_"
JWT_SECRET = PREFIX + "JWT_SECRET"
JWT_SECRET_FILE = PREFIX + "JWT_SECRET_FILE"
JWKS_URL = PREFIX + "JWKS_URL"


class StartError(Exception):
    """Why the server cannot start: for each thing that is wrong, one sentence that says what to do about it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Every setting; with none given, they are those of a development server that only this machine can reach."""

    host: str = setting("127.0.0.1", HOST, "Address to listen on.")
    port: int = setting("8000", whole_number(0, 65535), "Port to listen on; 0 takes any free one.")
    data_dir: Path = setting(
        ".videocredits", PATH, "Directory of the embedded PostgreSQL and of the development keys' secret."
    )
    database_url: str | None = setting(
        None, DATABASE_URL, "PostgreSQL 18 or newer to use; without it, the server brings its own.", secret=True
    )
    database_pool_size: int = setting(
        "20", whole_number(1, 500), "Connections to the database at most, beside one for live updates."
    )
    notify: Literal["on", "off"] = setting(
        "on",
        choice("on", "off"),
        "Whether processes notify each other of changes by NOTIFY; `off` where there is none (PgBouncer in transaction "
        "mode, distributed databases): then they find them within 2 seconds.",
    )
    signup_credits: int = setting("10", whole_number(0, 2147483647), "Credits that a new user is given.")
    video_cost: int = setting("1", whole_number(1, 2147483647), "Credits that one attempt at a video costs.")
    creations_per_day_max: int | None = setting(
        "1000",
        whole_number_or_off(0, 2147483647),
        "Attempts at videos, by `createVideoData` and `retryVideoData`, that one user may begin on a day (UTC); for "
        "the role USER alone.",
    )
    storage_bytes_per_user_max: int | None = setting(
        "10737418240",
        whole_number_or_off(0, 10**15 - 1),
        "Bytes of content that one user's videos may hold together, in blocks of 64 KiB for each video; for the role "
        "USER alone.",
    )
    jwt_secret: str | None = setting(
        None,
        SECRET,
        "Secret that signs the bearer tokens (HS256); without any key, development keys are used.",
        secret=True,
    )
    jwks_url: str | None = setting(
        None,
        PUBLIC_KEYS_URL,
        "Where the identity provider publishes its keys (JWKS: RS256, ES256, EdDSA); needs audience and issuer too.",
        secret=True,  # Some providers want an API key in the query.
    )
    jwt_audience: str = setting("videocredits", WORDS, "What a token's `aud` claim must name.")
    jwt_issuer: str = setting("videocredits", WORDS, "What a token's `iss` claim must be.")
    role_claim: str = setting("role", CLAIM, "The claim that holds USER, WORKER or ADMIN.")
    url_hosts: tuple[str, ...] | None = setting(
        None, URL_HOSTS, "Hosts that stored URLs may name, `*.` for all subdomains of one; without it, any host."
    )
    request_timeout_seconds: float = setting("10", SECONDS, "How long one request may take.")
    body_bytes_max: int = setting("1048576", whole_number(1, 1073741824), "Bytes that the body of a request may have.")
    anonymous_body_bytes_max: int = setting(
        "65536", whole_number(1, 1073741824), "Bytes that the body of a request without a token may have."
    )
    response_bytes_max: int = setting(
        "8388608", whole_number(1024, 1073741824), "Bytes that a response may have before it is compressed."
    )
    draft_status_codes: Literal["on", "off"] = setting(
        "off", choice("on", "off"), "Whether to use the newer statuses of the GraphQL-over-HTTP draft, 422 and 294."
    )
    requests_at_once_max: int = setting("100", whole_number(1, 10000), "GraphQL requests that run at once.")
    requests_waiting_max: int = setting(
        "200", whole_number(0, 100000), "GraphQL requests that may wait for a slot; any more are answered 503 at once."
    )
    streams_max: int = setting(
        "10000", whole_number(1, 1000000), "Sockets and streams of events that may be open at once."
    )
    streams_per_identity_max: int = setting(
        "50", whole_number(1, 1000000), "How many of them may be one user's; for the role USER alone."
    )
    sockets_per_address_max: int = setting(
        "2000",
        whole_number(1, 1000000),
        "TCP connections that may be open at once from one address (of IPv6, one /64), trusted proxies excepted.",
    )
    operations_per_socket_max: int = setting(
        "100", whole_number(1, 10000), "Operations that may run at once on one socket."
    )
    introspection: Literal["on", "off"] = setting(
        "on",
        choice("on", "off"),
        "Whether clients may read the schema and errors suggest names; `off` unless development keys are in use.",
    )
    documents_file: Path | None = setting(
        None, PATH, "Documents that clients name by `documentId`: graphql-codegen's persisted-documents.json."
    )
    trusted_documents_only: Literal["on", "off"] = setting(
        "off", choice("on", "off"), "Whether only the documents of that file are answered."
    )
    cors_origins: tuple[str, ...] | None = setting(
        None, ORIGINS, "Sites whose pages may call the API (CORS); without it, none but its own GraphiQL."
    )
    rate_limit_per_identity: Quota | None = setting(
        "600/minute", RATE, "Requests that one user may send, all at once or one by one; for the role USER alone."
    )
    rate_limit_per_address: Quota | None = setting(
        "6000/minute", RATE, "Requests that may come from one address (of IPv6, one /64), of all users together."
    )
    rate_limit_storage: str | None = setting(
        None,
        REDIS_URL,
        "Redis that counts for all processes (pip install 'throttled-py[redis]'); without it, each counts alone.",
        secret=True,
    )
    trusted_proxies: tuple[str, ...] | None = setting(
        None, NETWORKS, "Proxies whose X-Forwarded-For is believed; without it, a proxy's clients are one address."
    )
    log_format: Literal["console", "json"] = setting(
        "console", choice("console", "json"), "For eyes or for machines; `json` unless development keys are in use."
    )
    log_level: Literal["debug", "info", "warning", "error", "critical"] = setting(
        "info", choice("debug", "info", "warning", "error", "critical"), "The least severe level that is logged."
    )

    @property
    def development_keys(self) -> bool:
        """Whether tokens are signed with a secret that the server made for itself."""
        return self.jwt_secret is None and self.jwks_url is None

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach the server."""
        return is_loopback(self.host)

    def request_bytes_max(self, authorization: str | None) -> int:
        """Return the most bytes that a body or message may have. Without a valid token it is less."""
        if authorization is not None:
            return self.body_bytes_max
        return min(self.anonymous_body_bytes_max, self.body_bytes_max)

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Self:
        """Read the VIDEOCREDITS_ variables, or raise a StartError that tells everything wrong, a line each."""
        # Not with starlette.config: it stops at the first wrong value, and knows no unknown ones.
        given = {name: value for name, value in environ.items() if name.startswith(PREFIX)}
        keys = [name for name in (JWT_SECRET, JWT_SECRET_FILE, JWKS_URL) if name in given]
        values: dict[str, Any] = {"log_format": "json", "introspection": "off"} if keys else {}
        problems = []
        for name, value in given.items():
            variable = VARIABLES.get(name)
            if variable is None:
                problems.append(f"{name} is no setting: {_advice(name)}")
            elif not value:
                problems.append(f"{name} is empty: give it a value or unset it.")
            else:
                try:
                    values[variable.field] = variable.kind.read(value)
                except ValueError:  # Its text might quote a secret, so only our own words go into the message.
                    shown = "wrong" if variable.secret else repr(value[:100])
                    problems.append(f"{name} is {shown}: it must be {variable.kind.must_be}.")
        settings = cls(**values)
        problems += _contradictions(settings, given, keys)
        if problems:
            raise StartError("\n".join(problems))
        return settings


class Variable(NamedTuple):
    """One environment variable, as `serve --help` and the README describe it."""

    field: str
    default: str | None
    kind: Kind[Any]
    meaning: str
    secret: bool


VARIABLES = {PREFIX + each.name.upper(): Variable(each.name, **each.metadata) for each in fields(Settings)} | {
    JWT_SECRET_FILE: Variable(
        "jwt_secret", None, SECRET_FILE, "File to read the secret from, instead of the variable.", secret=False
    )
}


def _advice(name: str) -> str:
    if name.startswith((PREFIX + "SERVICE_", PREFIX + "PORT_")):
        return "Kubernetes sets it for a Service named videocredits; give the pod `enableServiceLinks: false`."
    near = get_close_matches(name.removeprefix(PREFIX), [known.removeprefix(PREFIX) for known in VARIABLES], n=1)
    return f"did you mean {PREFIX}{near[0]}?" if near else "unset it; `videocredits serve --help` lists the settings."


def _contradictions(settings: Settings, given: Mapping[str, str], keys: list[str]) -> Iterator[str]:
    if len(keys) > 1:
        yield f"{' and '.join(keys)} exclude each other: unset all but one."
    if JWKS_URL in keys:
        for name in (PREFIX + "JWT_AUDIENCE", PREFIX + "JWT_ISSUER"):
            if name not in given:
                yield f"{name} is missing: {JWKS_URL} needs it, set it to what your identity provider puts into tokens."
    if settings.trusted_documents_only == "on" and settings.documents_file is None:
        yield (
            f"{PREFIX}TRUSTED_DOCUMENTS_ONLY is on, and there are no trusted documents: "
            f"set {PREFIX}DOCUMENTS_FILE to the file that holds them."
        )
    if not keys and not settings.loopback:
        yield (
            f"{PREFIX}HOST is {settings.host}, which other machines can reach, and there are only development keys: "
            f"set {JWT_SECRET}, {JWT_SECRET_FILE} or {JWKS_URL}, or listen on 127.0.0.1."
        )


def development_secret(data_dir: Path) -> str:
    """Return this data directory's secret for development tokens, made once for all processes.

    Raises StartError when it can be neither read nor made.
    """
    path = data_dir / "development.secret"
    try:
        if not path.exists():
            data_dir.mkdir(parents=True, exist_ok=True)
            # Written aside (mode 600) and then linked: a second process finds the whole secret or none, never half.
            with NamedTemporaryFile("w", dir=data_dir, encoding="ascii") as draft:
                draft.write(token_urlsafe(48))
                draft.flush()
                os.fsync(draft.fileno())
                with suppress(FileExistsError):
                    os.link(draft.name, path)
        return SECRET.read(path.read_text(encoding="ascii"))
    except OSError as error:
        raise StartError(
            f"{path} cannot be used ({error.strerror}): set {PREFIX}DATA_DIR to a directory that you may write to."
        ) from error
    except ValueError as error:
        raise StartError(f"{path} is damaged: delete it, and the next start makes a new one.") from error
