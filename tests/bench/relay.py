"""The yardsticks: a bare aiohttp server and client, no features.

Bytes through; below ``/again`` each event is decoded and encoded again, which is the least that
any translation of a stream does.
"""

import struct
import sys
from collections.abc import AsyncIterator, Callable

import msgspec
import uvloop
from aiohttp import ClientSession, TCPConnector, web

UPSTREAM = web.AppKey("upstream", str)
SESSION = web.AppKey("session", ClientSession)


decode, encode = msgspec.json.Decoder().decode, msgspec.json.Encoder().encode


def again_sse(data: bytes) -> tuple[bytes, bytes]:
    """The events of `data`, decoded and encoded, and the start of an unfinished one."""
    *whole, rest = data.split(b"\n\n")
    made = []
    for each in whole:
        head, _, text = each.rpartition(b"data: ")
        made.append(head + b"data: " + (text if text == b"[DONE]" else encode(decode(text))))
    return b"\n\n".join([*made, b""]), rest


def again_frames(data: bytes) -> tuple[bytes, bytes]:
    """The same of Amazon's event stream, as server-sent events."""
    made, at = [], 0
    while len(data) - at >= 12:
        size, headers = struct.unpack_from(">II", data, at)
        if len(data) - at < size:
            break
        made.append(b"data: " + encode(decode(data[at + 12 + headers : at + size - 4])))
        at += size
    return b"\n\n".join([*made, b""]), data[at:]


async def translated(
    data: AsyncIterator[bytes], again: Callable[[bytes], tuple[bytes, bytes]]
) -> AsyncIterator[bytes]:
    rest = b""
    async for each in data:
        made, rest = again(rest + each)
        yield made


async def relay(request: web.Request) -> web.StreamResponse:
    body = await request.read()
    session = request.app[SESSION]
    headers = {"authorization": "Bearer x", "content-type": "application/json"}
    loops = request.path.startswith("/again/")
    url = request.app[UPSTREAM] + request.path_qs.removeprefix("/again")
    async with session.post(url, data=body, headers=headers) as answer:
        kind = answer.headers.get("content-type", "")
        if "eventstream" not in kind.replace("-", ""):
            return web.Response(
                body=await answer.read(), status=answer.status, content_type="application/json"
            )
        response = web.StreamResponse(
            status=answer.status, headers={"content-type": "text/event-stream; charset=utf-8"}
        )
        await response.prepare(request)
        found: AsyncIterator[bytes] = answer.content.iter_any()
        if loops:
            found = translated(found, again_frames if "amazon" in kind else again_sse)
        async for data in found:
            await response.write(data)
        await response.write_eof()
        return response


async def session(app: web.Application):  # type: ignore[no-untyped-def]
    async with ClientSession(connector=TCPConnector(limit=0)) as made:
        app[SESSION] = made
        yield


if __name__ == "__main__":
    application = web.Application()
    application[UPSTREAM] = sys.argv[2]
    application.cleanup_ctx.append(session)
    application.router.add_post("/{path:.*}", relay)
    web.run_app(
        application,
        host="127.0.0.1",
        port=int(sys.argv[1]),
        access_log=None,
        print=None,
        loop=uvloop.new_event_loop(),
    )
