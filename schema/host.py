"""Names of hosts, compared as browsers look them up."""

import re
from collections.abc import Collection

import idna


def ascii_host(host: str) -> str:
    """Write a host's name in lower case, and as `xn--` what is not ASCII; ValueError if it is none.

    So two spellings of one host are equal, and none is that browsers take for another host.
    """
    name = host.lower() if host.isascii() else idna.encode(host, uts46=True).decode()
    name = name.removesuffix(".")  # The DNS's root, which every name may end with.
    if not re.fullmatch(r"[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*", name) or len(name) > 253:
        raise ValueError
    return name


def is_one_of(host: str, hosts: Collection[str]) -> bool:
    """Tell whether a host is one of these, written by `ascii_host`; `*.` before one stands for all its subdomains."""
    try:
        name = ascii_host(host)
    except ValueError:
        return False
    return any(name.endswith(each[1:]) if each.startswith("*.") else name == each for each in hosts)
