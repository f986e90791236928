"""Whose connection a load balancer passes on: the PROXY protocol, versions 1 and 2.

Source: https://www.haproxy.org/download/3.2/doc/proxy-protocol.txt. Who may send the header is
configured and must send it; it is never guessed, since any client could write one.

The header is read from the socket before anything else looks at it: it stands in front of TLS,
and not a byte behind it may be taken.
"""

import asyncio
import ipaddress
import socket

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
SECONDS = 5.0  # from the connection to the end of its header
_SHORTEST = len(b"PROXY UNKNOWN\r\n")
_LONGEST_LINE = 107
_LONGEST_BLOCK = 4096  # of version 2: addresses, and what else the sender tells
_ADDRESS_BYTES = {0x11: 4, 0x21: 16}  # TCP over IPv4, TCP over IPv6


class ProxyHeaderError(Exception):
    """The connection does not begin with a header of the PROXY protocol."""


async def client_of(connection: socket.socket) -> str | None:
    """The client's address; None where the sender speaks for itself or knows none.

    Raises:
        ProxyHeaderError: what came is no such header.
        OSError, TimeoutError: the connection ended, or the header took longer than `SECONDS`.
    """
    async with asyncio.timeout(SECONDS):
        begun = await _exactly(connection, _SHORTEST)
        if begun.startswith(SIGNATURE):
            return await _block(connection, begun)
        if begun.startswith(b"PROXY "):
            return await _line(connection, begun)
    raise ProxyHeaderError("no header of the PROXY protocol")


async def _line(connection: socket.socket, line: bytes) -> str | None:
    """Version 1: ``PROXY TCP4 source destination port port``."""
    while not line.endswith(b"\r\n"):
        if len(line) == _LONGEST_LINE:
            raise ProxyHeaderError("its line does not end")
        line += await _exactly(connection, 1)  # its length is not told
    words = line[:-2].decode("ascii", "replace").split(" ")
    if words[1] == "UNKNOWN":
        return None
    if len(words) != 6 or words[1] not in ("TCP4", "TCP6"):
        raise ProxyHeaderError("its line cannot be read")
    try:
        address = ipaddress.ip_address(words[2])
    except ValueError:
        raise ProxyHeaderError("its address cannot be read") from None
    if f"TCP{address.version}" != words[1]:
        raise ProxyHeaderError("its address is of another family")
    return str(address)


async def _block(connection: socket.socket, begun: bytes) -> str | None:
    """Version 2: version and command, family, length, addresses, further values."""
    head = begun + await _exactly(connection, 16 - len(begun))
    version, command, family = head[12] >> 4, head[12] & 15, head[13]
    length = int.from_bytes(head[14:16], "big")
    if version != 2 or command > 1 or length > _LONGEST_BLOCK:
        raise ProxyHeaderError("its block cannot be read")
    block = await _exactly(connection, length)
    size = _ADDRESS_BYTES.get(family)
    if command == 0 or size is None:
        return None  # a health check of the sender's own, or no TCP
    if length < 2 * size + 4:
        raise ProxyHeaderError("its block is too short for its addresses")
    return str(ipaddress.ip_address(block[:size]))


async def _exactly(connection: socket.socket, count: int) -> bytes:
    loop, found = asyncio.get_running_loop(), b""
    while len(found) < count:
        more = await loop.sock_recv(connection, count - len(found))
        if not more:
            raise ConnectionResetError("the connection ended within its header")
        found += more
    return found
