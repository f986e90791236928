"""Calls through a proxy: what the proxy sees of one, and what the client gets."""

import asyncio

from llm_gateway_testkit import openai_dialect as openai
from llm_gateway_testkit.gateway import running_gateway
from llm_gateway_testkit.rawclient import call


async def test_calls_go_through_the_proxy_of_a_provider() -> None:
    """The proxy sees the whole address and its own credential; the answer comes back whole."""
    heads: list[bytes] = []
    answer = openai.chat_answer("through a proxy")

    async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
        writer.write(head % len(answer.body) + answer.body)
        await writer.drain()
        await reader.read()
        writer.close()

    server = await asyncio.start_server(proxy, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        provider = {
            "kind": "openai",
            "api_key": "sk-upstream",
            "base_url": "http://nowhere.invalid/v1",
            "proxy": f"http://ada:secret@127.0.0.1:{port}",
        }
        body = {"model": "up/m", "messages": [{"role": "user", "content": "hello"}]}
        async with running_gateway({"providers": {"up": provider}}) as gateway:
            url = f"{gateway.url}/v1/chat/completions"
            reply = await call(url, body, key=gateway.api_key)

    assert reply.status == 200
    assert reply.json["choices"][0]["message"]["content"] == "through a proxy"
    head = heads[0].lower()
    assert head.startswith(b"post http://nowhere.invalid/v1/chat/completions http/1.1")
    assert b"proxy-authorization: basic ywrhonnly3jlda==" in head
    assert not any(":secret" in line for line in gateway.log_lines())


async def test_proxy_that_is_gone_is_told_as_such() -> None:
    provider = {"kind": "openai", "api_key": "k", "base_url": "http://nowhere.invalid/v1",
                "proxy": "http://127.0.0.1:1", "max_retries": 0}  # fmt: skip
    body = {"model": "up/m", "messages": [{"role": "user", "content": "hello"}]}
    async with running_gateway({"providers": {"up": provider}}) as gateway:
        reply = await call(f"{gateway.url}/v1/chat/completions", body, key=gateway.api_key)

    assert reply.status in (502, 503)
    assert "proxy cannot be reached" in reply.json["error"]["message"]
