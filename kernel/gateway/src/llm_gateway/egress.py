"""Which addresses a call may reach whose destination somebody else chose. Opens nothing.

What counts is the address that is connected to, in whatever form the name was written.
"""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass

from llm_gateway_api import ConfigurationError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# Addresses inside an address; with where the inner one begins, in bits from the right.
_EMBEDDED = (
    (ipaddress.ip_network("64:ff9b::/96"), 0),  # NAT64 (RFC 6052)
    (ipaddress.ip_network("2002::/16"), 80),  # 6to4 (RFC 3056)
    (ipaddress.ip_network("::/96"), 0),  # IPv4-compatible (RFC 4291, deprecated)
)
# Global by the registries, and yet no place for a call of ours.
_REFUSED: tuple[Network, ...] = (
    ipaddress.ip_network("168.63.129.16/32"),  # a cloud's own services for its machines
    ipaddress.ip_network("192.88.99.0/24"),  # 6to4 relays (RFC 7526)
    ipaddress.ip_network("64:ff9b:1::/48"),  # NAT64 inside a network (RFC 8215)
    ipaddress.ip_network("2001::/32"),  # Teredo (RFC 4380)
)


@dataclass(frozen=True, slots=True)
class Rules:
    """``security.egress.allow_private`` as names and networks."""

    hosts: frozenset[str]
    networks: tuple[Network, ...]

    @classmethod
    def of(cls, allowed: Sequence[str]) -> "Rules":
        hosts: set[str] = set()
        networks: list[Network] = []
        for index, each in enumerate(allowed):
            text = each.strip().rstrip(".").lower()
            try:
                networks.append(ipaddress.ip_network(text.strip("[]"), strict=False))
            except ValueError:
                if not text or "/" in text or ":" in text or "*" in text:
                    raise ConfigurationError(
                        f"security.egress.allow_private[{index}]: {each!r} is neither a host's "
                        "name nor a CIDR range (10.0.0.0/8)."
                    ) from None
                hosts.add(text)
        return cls(frozenset(hosts), tuple(networks))

    def allow(self, host: str, address: str) -> bool:
        """Whether the connection to `address`, which `host` stands for, may be made."""
        try:
            found = ipaddress.ip_address(address.partition("%")[0])
        except ValueError:
            return False  # not a form that an address has
        if host.rstrip(".").lower() in self.hosts:
            return True
        return is_public(found) or any(_within(found, each) for each in self.networks)


def is_public(address: Address) -> bool:
    """Whether anybody may be told to call `address`; an embedded one is judged as well."""
    inner = _inner(address)
    if inner is not None:
        return is_public(inner)
    if address.is_multicast or address.is_reserved or not address.is_global:
        return False
    if isinstance(address, ipaddress.IPv6Address) and address.is_site_local:
        return False
    return not any(_within(address, each) for each in _REFUSED)


def _inner(address: Address) -> ipaddress.IPv4Address | None:
    if isinstance(address, ipaddress.IPv4Address):
        return None
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    for network, shift in _EMBEDDED:
        if address in network:
            return ipaddress.IPv4Address((int(address) >> shift) & 0xFFFFFFFF)
    return None


def _within(address: Address, network: Network) -> bool:
    if address.version == network.version:
        return address in network
    inner = _inner(address)
    return inner is not None and inner.version == network.version and inner in network
