"""Host names, normalized as browsers normalize them."""

import re
from collections.abc import Collection

import idna


def ascii_host(host: str) -> str:
    """Return a host's name in lower case, with non-ASCII labels as `xn--`; ValueError if it is not a host name.

    Two spellings of one host become equal, and no result means another host to a browser.
    """
    name = host.lower() if host.isascii() else idna.encode(host, uts46=True).decode()
    name = name.removesuffix(".")  # The DNS's root, which every name may end with.
    if not re.fullmatch(r"[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*", name) or len(name) > 253:
        raise ValueError
    return name


def is_one_of(host: str, hosts: Collection[str]) -> bool:
    """Return whether a list names a host, as `ascii_host` returns it; `*.` before a name means all its subdomains."""
    try:
        name = ascii_host(host)
    except ValueError:
        return False
    return any(name.endswith(each[1:]) if each.startswith("*.") else name == each for each in hosts)
