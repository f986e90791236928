"""Connections whose client a load balancer names, over real sockets, with TLS and without."""

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from llm_gateway.client import Client
from llm_gateway.connection import Answered, HttpServer, Incoming
from llm_gateway.proxyheader import SIGNATURE, ProxyHeaderError, client_of
from llm_gateway.sockets import Listening
from llm_gateway.watchdog import Watchdog

REQUEST = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
LOOPBACK = ipaddress.ip_network("127.0.0.0/8")


def block(command: int, family: int, addresses: bytes, more: bytes = b"") -> bytes:
    length = (len(addresses) + len(more)).to_bytes(2, "big")
    return SIGNATURE + bytes([0x20 | command, family]) + length + addresses + more


V4 = bytes([192, 0, 2, 7, 10, 0, 0, 1, 0x9C, 0x40, 0x1F, 0x90])
V6 = ipaddress.ip_address("2001:db8::7").packed * 2 + bytes(4)
UNIX = bytes(216)
HEADERS = [
    (b"PROXY TCP4 192.0.2.7 10.0.0.1 40000 8080\r\n", "192.0.2.7"),
    (b"PROXY TCP6 2001:db8::7 2001:db8::1 40000 8080\r\n", "2001:db8::7"),
    (b"PROXY UNKNOWN\r\n", None),
    (b"PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n", None),
    (block(1, 0x11, V4), "192.0.2.7"),
    (block(1, 0x11, V4, b"\x04\x00\x03abc"), "192.0.2.7"),
    (block(1, 0x21, V6), "2001:db8::7"),
    (block(0, 0x00, b""), None),
    (block(0, 0x11, V4), None),
    (block(1, 0x31, UNIX), None),
]
NO_HEADERS = [
    REQUEST,
    b"PROXY TCP4 192.0.2.7\r\n    ",
    b"PROXY TCP4 192.0.2.300 10.0.0.1 1 2\r\n",
    b"PROXY TCP6 192.0.2.7 10.0.0.1 1 2\r\n",
    b"PROXY UDP4 192.0.2.7 10.0.0.1 1 2\r\n",
    b"PROXY TCP4 " + b"1" * 200 + b"\r\n",
    block(1, 0x11, V4[:8]),
    block(2, 0x11, V4),
    SIGNATURE + b"\x31\x11\x00\x0c" + V4,
    SIGNATURE + b"\x21\x11\xff\xff" + bytes(100),
]


@pytest.mark.parametrize(("header", "address"), HEADERS)
@pytest.mark.parametrize("size", [1, 7, 1000])
async def test_header_is_read_in_any_pieces_and_not_a_byte_more(
    header: bytes, address: str | None, size: int
) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        reading = asyncio.ensure_future(client_of(ours))
        for at in range(0, len(header), size):
            theirs.send(header[at : at + size])
            await asyncio.sleep(0)
        theirs.send(b"what follows")

        assert await reading == address
        assert ours.recv(100) == b"what follows"


@pytest.mark.parametrize("header", NO_HEADERS)
async def test_what_is_no_header_is_refused(header: bytes) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        theirs.send(header)
        with pytest.raises(ProxyHeaderError):
            await client_of(ours)


@pytest.mark.parametrize(("header", "_"), HEADERS)
async def test_a_header_that_ends_early_is_refused(header: bytes, _: str | None) -> None:
    for cut in range(len(header)):
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.setblocking(False)
            theirs.send(header[:cut])
            theirs.close()
            with pytest.raises(ConnectionResetError):
                await client_of(ours)


async def whose(request: Incoming) -> Answered:
    client = Client(request, Watchdog(asyncio.get_running_loop()), 2.0)
    client.send(200, {}, f"from {request.protocol.client}".encode())
    return Answered(client.status, client.keep_alive)


@asynccontextmanager
async def listening(
    balancer: ipaddress.IPv4Network, tls: ssl.SSLContext | None = None
) -> AsyncIterator[int]:
    http = HttpServer(whose, 1000, 10, access_log=None)
    listener = Listening(http, tls, [balancer])
    with socket.create_server(("127.0.0.1", 0)) as bound:
        await listener.take([bound])
        try:
            yield bound.getsockname()[1]
        finally:
            await listener.take([])
            await http.shutdown(1.0)


async def said(port: int, sent: bytes) -> bytes:
    async with asyncio.timeout(5):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(sent)
        found = await reader.read()
        writer.close()
        return found


@pytest.mark.parametrize(("header", "address"), HEADERS)
async def test_a_balancer_names_the_client(header: bytes, address: str | None) -> None:
    async with listening(LOOPBACK) as port:
        found = await said(port, header + REQUEST)

    assert found.endswith(f"from {address or '127.0.0.1'}".encode())


@pytest.mark.parametrize("sent", NO_HEADERS)
async def test_a_balancer_without_a_header_gets_no_answer(sent: bytes) -> None:
    async with listening(LOOPBACK) as port:
        with pytest.raises(ConnectionResetError):
            assert await said(port, sent) == b""
            raise ConnectionResetError  # ended without unread bytes: as good


@pytest.mark.parametrize("header", [HEADERS[0][0], HEADERS[4][0]])
async def test_others_cannot_name_a_client(header: bytes) -> None:
    async with listening(ipaddress.ip_network("192.0.2.0/24")) as port:
        plain = await said(port, REQUEST)
        forged = await said(port, header + REQUEST)

    assert plain.endswith(b"from 127.0.0.1")
    assert forged.startswith((b"HTTP/1.0 400", b"HTTP/1.1 400"))


async def test_the_header_stands_in_front_of_tls(certificate: Any) -> None:
    """The handshake begins with the next byte, which may come with the header's own."""
    trusting = ssl.create_default_context(cafile=certificate.file)
    async with listening(LOOPBACK, certificate.server()) as port:
        with socket.create_connection(("127.0.0.1", port)) as raw:
            raw.setblocking(False)
            await asyncio.get_running_loop().sock_sendall(raw, HEADERS[0][0])
            reader, writer = await asyncio.open_connection(
                sock=raw, ssl=trusting, server_hostname="localhost"
            )
            writer.write(REQUEST)
            async with asyncio.timeout(5):
                found = await reader.read()
            writer.close()

    assert found.endswith(b"from 192.0.2.7")
