"""Which names the gateway answers to."""

import re
from collections.abc import Iterable

_AUTHORITY = re.compile(r"(?P<host>\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(?::(?P<port>[0-9]{1,5}))?")
_ENTRY = re.compile(
    r"(?:\*\.)?[A-Za-z0-9._-]+(?::[0-9]{1,5})?|\[[0-9a-fA-F:.]+\](?::[0-9]{1,5})?|\*"
)


def entry(text: str) -> str:
    """An entry of ``allowed_hosts``, checked and in lower case. Raises `ValueError`."""
    if not _ENTRY.fullmatch(text):
        raise ValueError(
            f"{text!r} is no host: write api.example.com, *.example.com, [::1] or host:port"
        )
    return text.lower()


class Hosts:
    """Names with or without a port; ``*.x`` is every name below ``x``, and not ``x``."""

    def __init__(self, entries: Iterable[str]) -> None:
        known = [entry(each) for each in entries]
        self._all = "*" in known
        self._exact = frozenset(each for each in known if not each.startswith("*"))
        self._below = tuple(each[1:] for each in known if each.startswith("*."))

    def allows(self, authority: str) -> bool:
        match = _AUTHORITY.fullmatch(authority)
        if match is None:
            return False
        host = match["host"].lower().rstrip(".")
        names = (host, f"{host}:{match['port']}") if match["port"] else (host,)
        return (
            self._all
            or any(each in self._exact for each in names)
            or any(
                each.endswith(end) and len(each) > len(end) for each in names for end in self._below
            )
        )
