"""Addresses and sets of networks. IPv4 inside IPv6 (``::ffff:a.b.c.d``) counts as IPv4."""

from collections.abc import Iterable
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import TypeAlias

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network
_MAPPED = IPv6Network("::ffff:0:0/96")


def address(text: str) -> Address:
    """Raises `ValueError`. A zone (``fe80::1%eth0``) says only by which way it came."""
    found = ip_address(text.partition("%")[0])
    if isinstance(found, IPv6Address):
        return found.ipv4_mapped or found
    return found


def network(text: str) -> Network:
    """Raises `ValueError`, with the network that was meant where host bits are set."""
    try:
        found = ip_network(text)
    except ValueError as error:
        try:
            meant = ip_network(text, strict=False)
        except ValueError:
            raise ValueError(f"{text!r} is neither an address nor a CIDR range") from error
        raise ValueError(f"{text!r} has host bits set; did you mean {str(meant)!r}?") from error
    if isinstance(found, IPv6Network) and found.subnet_of(_MAPPED):
        low = int(found.network_address) & 0xFFFFFFFF
        return IPv4Network((low, found.prefixlen - 96))
    return found


class Networks:
    """A set of networks; a look-up costs one probe for each length of prefix, not each network."""

    def __init__(self, networks: Iterable[Network]) -> None:
        tables: dict[tuple[int, int], set[int]] = {}
        for each in networks:
            shift = each.max_prefixlen - each.prefixlen
            tables.setdefault((each.version, shift), set()).add(int(each.network_address) >> shift)
        self._probes = {
            version: tuple(
                (s, frozenset(found)) for (v, s), found in tables.items() if v == version
            )
            for version in (4, 6)
        }

    def __bool__(self) -> bool:
        return any(self._probes.values())

    def __contains__(self, each: Address) -> bool:
        number = int(each)
        return any(number >> shift in found for shift, found in self._probes[each.version])
