"""Who a connection comes from, and what one too many is told, by a whole gateway."""

import asyncio
import json
from typing import Any

from llm_gateway_testkit.gateway import API_KEY, Gateway, running_gateway

SIMULATED = {"providers": {"sim": {"kind": "simulated"}}}
BALANCER = "127.0.0.2"


def request(gateway: Gateway, path: str, body: dict[str, Any] | None = None) -> bytes:
    sent = json.dumps(body).encode() if body is not None else b""
    lines = [
        f"{'POST' if body is not None else 'GET'} {path} HTTP/1.1",
        "host: gateway",
        f"authorization: Bearer {API_KEY}",
        f"content-length: {len(sent)}",
        "connection: close",
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + sent


async def answered(
    gateway: Gateway, sent: bytes, local: str = "127.0.0.1"
) -> tuple[int, dict[str, str], Any]:
    host, port = gateway.url.removeprefix("http://").split(":")
    async with asyncio.timeout(20):
        reader, writer = await asyncio.open_connection(host, int(port), local_addr=(local, 0))
        writer.write(sent)
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        writer.close()
    status, *lines = head.decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    return int(status.split()[1]), headers, json.loads(body)


async def test_filters_see_the_client_that_the_balancer_names() -> None:
    """The address counts for lists, and only the balancer may name it."""
    config = {
        **SIMULATED,
        "server": {"proxy_protocol_from": [BALANCER]},
        "security": {"ip_filter": {"enabled": True, "blacklist": ["192.0.2.0/24"]}},
    }
    bad = b"PROXY TCP4 192.0.2.7 10.0.0.1 40000 8080\r\n"
    good = b"PROXY TCP4 198.51.100.7 10.0.0.1 40000 8080\r\n"
    async with running_gateway(config) as gateway:
        asked = request(gateway, "/v1/models")

        refused = await answered(gateway, bad + asked, BALANCER)
        served = await answered(gateway, good + asked, BALANCER)
        forged = await answered(gateway, good + asked)
        direct = await answered(gateway, asked)

    assert (refused[0], refused[2]["error"]["code"]) == (403, "address_not_allowed")
    assert (served[0], direct[0]) == (200, 200)
    assert (forged[0], forged[2]["error"]["code"]) == (400, "invalid_http")


async def test_a_body_whose_encoding_cannot_be_read_is_named_as_such() -> None:
    async with running_gateway(SIMULATED) as gateway:
        asked = request(gateway, "/v1/chat/completions", {"model": "simulated"})

        unknown = await answered(gateway, encoded(asked, "br"))
        broken = await answered(gateway, encoded(asked, "gzip"))

    assert (unknown[0], unknown[2]["error"]["code"]) == (415, "unsupported_encoding")
    assert (broken[0], broken[2]["error"]["code"]) == (400, "invalid_body")
    assert "content-encoding" in broken[2]["error"]["message"]
    assert unknown[2]["error"]["type"] == broken[2]["error"]["type"] == "invalid_request_error"


def encoded(sent: bytes, coding: str) -> bytes:
    return sent.replace(b"host:", f"content-encoding: {coding}\r\nhost:".encode(), 1)


async def test_one_connection_too_many_is_told_when_to_come_again() -> None:
    """In the form of its dialect; health is answered all the same."""
    chat = {"model": "simulated", "messages": [{"role": "user", "content": "Hello"}]}
    message = {**chat, "max_tokens": 10}
    async with running_gateway({**SIMULATED, "server": {"max_connections": 3}}) as gateway:
        host, port = gateway.url.removeprefix("http://").split(":")
        held = [await asyncio.open_connection(host, int(port)) for _ in range(3)]

        full = await answered(gateway, request(gateway, "/v1/chat/completions", chat))
        anthropic = await answered(gateway, request(gateway, "/v1/messages", message))
        health = await answered(gateway, request(gateway, "/health/live"))
        for _, writer in held:
            writer.close()
        for _ in range(100):
            again = await answered(gateway, request(gateway, "/v1/chat/completions", chat))
            if again[0] == 200:
                break

    assert (full[0], full[2]["error"]["code"]) == (503, "too_many_connections")
    assert (full[1]["retry-after"], full[1]["connection"]) == ("1", "close")
    assert "x-should-retry" not in full[1]
    assert anthropic[0] in (503, 529)
    assert anthropic[2]["type"] == "error"
    assert health[0] == 200
    assert again[0] == 200
