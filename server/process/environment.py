"""How the text of one environment variable becomes a setting, and what it must look like."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any, Generic, TypeVar, cast
from urllib.parse import urlsplit

import jwt
from throttled import Quota, per_hour, per_min, per_sec

from schema.host import ascii_host

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Kind(Generic[T]):
    """What a setting's text must be, in words, and how it is read: ValueError when it is something else."""

    must_be: str
    read: Callable[[str], T]


def setting(default: str | None, kind: Kind[T], meaning: str, *, secret: bool = False) -> T:
    """Make a dataclass field that carries its documentation; a secret one appears in no message and no repr."""

    def read_default() -> T:
        return cast("T", None) if default is None else kind.read(default)

    metadata = {"default": default, "kind": kind, "meaning": meaning, "secret": secret}
    return field(default_factory=read_default, repr=not secret, metadata=metadata)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server that listens on this host."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def text(pattern: str, must_be: str) -> Kind[str]:
    """Read text that the pattern matches as a whole."""

    def read(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise ValueError
        return value

    return Kind(must_be, read)


def whole_number(low: int, high: int) -> Kind[int]:
    """Read a whole number, in decimal digits alone."""

    def read(value: str) -> int:
        if not re.fullmatch(r"[0-9]{1,15}", value) or not low <= int(value) <= high:
            raise ValueError
        return int(value)

    return Kind(f"a whole number from {low} to {high}", read)


def whole_number_or_off(low: int, high: int) -> Kind[int | None]:
    """Read a whole number, or None for `off`."""
    number = whole_number(low, high)
    return Kind(f"{number.must_be}, or off", lambda value: None if value.lower() == "off" else number.read(value))


def choice(*choices: str) -> Kind[Any]:
    """Read one of a few words, in any case; its type is the Literal of the field that it is given to."""
    return Kind(f"{', '.join(choices[:-1])} or {choices[-1]}", lambda value: choices[choices.index(value.lower())])


def _read_host(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9._-]+", value):
        ip_address(value)
    return value


def _read_seconds(value: str) -> float:
    if not re.fullmatch(r"[0-9]{1,4}(\.[0-9]{1,6})?", value) or not 0 < float(value) <= 3600:
        raise ValueError
    return float(value)


def _read_path(value: str) -> Path:
    try:
        return Path(value).expanduser().absolute()
    except RuntimeError as no_such_user:
        raise ValueError from no_such_user


def _read_url(value: str) -> str:
    url = urlsplit(value)
    encrypted = url.scheme == "https" or (url.scheme == "http" and is_loopback(url.hostname or ""))
    if not encrypted or not url.hostname or url.port == 0 or "@" in url.netloc or re.search(r"[^!-~]", value):
        raise ValueError
    return value


def _read_url_hosts(value: str) -> tuple[str, ...]:
    hosts = []
    for given in value.split(","):
        host = given.strip(" ")
        name = re.sub(r"^\*?\.", "", host)
        hosts.append(("*." if name != host else "") + ascii_host(name))
    return tuple(hosts)


def _read_rate(value: str) -> Quota | None:
    if value.lower() == "off":
        return None
    rate = re.fullmatch(r"([1-9][0-9]{0,6})/(second|minute|hour)", value.lower())
    if rate is None:
        raise ValueError
    return {"second": per_sec, "minute": per_min, "hour": per_hour}[rate[2]](int(rate[1]))


def _read_networks(value: str) -> tuple[str, ...]:
    return tuple(str(ip_network(each.strip(" "))) for each in value.split(","))


def _read_origins(value: str) -> tuple[str, ...]:
    origins = tuple(each.strip(" ") for each in value.split(","))
    for each in origins:
        if not re.fullmatch(r"https?://[a-z0-9.-]+(:[0-9]+)?|http://\[::1\](:[0-9]+)?", _read_url(each)):
            raise ValueError
    return origins


def _read_secret(value: str) -> str:
    if not 32 <= len(value.encode()) <= 4096:
        raise ValueError
    try:
        jwt.get_algorithm_by_name("HS256").prepare_key(value)
    except jwt.InvalidKeyError as public_key:
        raise ValueError from public_key
    return value


def _read_secret_file(value: str) -> str:
    try:
        with _read_path(value).open(encoding="utf-8") as file:
            return _read_secret(file.read(8192).rstrip("\r\n"))
    except OSError as unreadable:
        raise ValueError from unreadable


HOST = Kind("an address such as 127.0.0.1 or ::1, or a name, without scheme, brackets or port", _read_host)
SECONDS = Kind("a number of seconds above 0, at most 3600", _read_seconds)
PATH = Kind("a path", _read_path)
DATABASE_URL = text(r"postgres(ql)?://\S+", "an address that starts with postgresql:// or postgres://")
PUBLIC_KEYS_URL = Kind("an https:// address without user name (http:// only for a loopback host)", _read_url)
URL_HOSTS = Kind(
    "host names separated by commas, without scheme or port, such as cdn.example.com, *.example.org", _read_url_hosts
)
RATE = Kind("a number of requests by second, minute or hour, such as 600/minute, or off", _read_rate)
NETWORKS = Kind("addresses or networks separated by commas, such as 10.0.0.7, 10.1.0.0/16, fd00::/8", _read_networks)
ORIGINS = Kind(
    "origins separated by commas, such as https://app.example.com, without path (http:// only for a loopback host)",
    _read_origins,
)
REDIS_URL = text(r"rediss?://\S+", "an address that starts with redis:// or rediss://")
WORDS = text(r"[^\x00-\x1f\x7f\ud800-\udfff]{1,255}", "1 to 255 characters")
CLAIM = text(r"(?!(?:aud|exp|iat|iss|jti|nbf|sub)$)[!-~]{1,255}", "a claim's name, and none that JWT itself defines")
SECRET = Kind(
    "32 to 4096 bytes of secret text, such as `openssl rand -base64 48` prints, and no public key", _read_secret
)
SECRET_FILE = Kind(f"the path of a readable file that holds {SECRET.must_be}", _read_secret_file)
