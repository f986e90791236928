"""Who calls behind proxies: the headers read from the right, as far as the hops are trusted.

``X-Forwarded-For`` has no standard; ``Forwarded`` is RFC 7239. Every proxy adds its own peer
at the end, so only what trusted hops wrote is believed, and what a client wrote before is not.
"""

import re
from collections.abc import Iterator, Sequence

from llm_gateway_filter_ip.networks import Address, Networks, address

MAX_HOPS = 32
_PORT = re.compile(r"(?P<host>\[[^\]]*\]|[^:\[\]]*)(?::[0-9A-Za-z._-]+)?")


class UnreadableHopError(ValueError):
    """A trusted hop says nothing that names an address."""


def caller(peer: Address, values: Sequence[str], standard: bool, trusted: Networks) -> Address:
    """The nearest address that is no trusted proxy; the farthest where all are.

    `values` are those of the one header that is believed, in their order; `standard` says
    that it is ``Forwarded``.

    Raises:
        UnreadableHopError: the hop that counts is unknown, hidden or no address.
    """
    found = peer
    for count, hop in enumerate(_from_the_right(values, standard)):
        if found not in trusted:
            return found
        if count == MAX_HOPS:
            raise UnreadableHopError(f"more than {MAX_HOPS} proxies are named")
        try:
            found = address(_host(hop))
        except ValueError as error:
            raise UnreadableHopError("a proxy is named by no address") from error
    return found


def _from_the_right(values: Sequence[str], standard: bool) -> Iterator[str]:
    for value in reversed(values):
        if standard:
            for element in reversed(_split(value, ",")):
                yield _for(element)
        else:
            for hop in reversed(value.split(",")):
                yield hop.strip()


def _for(element: str) -> str:
    """What an element of `Forwarded` says of its ``for``; twice is as bad as never."""
    said = [
        value.strip()
        for name, _, value in (pair.partition("=") for pair in _split(element, ";"))
        if name.strip().lower() == "for"
    ]
    if len(said) != 1:
        return ""
    value = said[0]
    if value[:1] == '"':
        return re.sub(r"\\(.)", r"\1", value[1:-1]) if len(value) > 1 and value[-1] == '"' else ""
    return value


def _split(text: str, mark: str) -> list[str]:
    """By `mark` outside of quotes. A quote that stays open swallows the rest, so that what
    stands in it is not taken for a hop."""
    parts, start, quoted, at = [], 0, False, 0
    while at < len(text):
        sign = text[at]
        if sign == '"':
            quoted = not quoted
        elif sign == "\\" and quoted:
            at += 1
        elif sign == mark and not quoted:
            parts.append(text[start:at])
            start = at + 1
        at += 1
    return [*parts, text[start:]]


def _host(hop: str) -> str:
    """Without a port: ``1.2.3.4:80``, ``[::1]:80``; bare IPv6 has none."""
    if hop.count(":") > 1 and not hop.startswith("["):
        return hop
    match = _PORT.fullmatch(hop)
    return match["host"].strip("[]") if match else hop
