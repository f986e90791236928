"""The yardstick: a bare aiohttp server and client, bytes through, no features."""

import sys

import uvloop
from aiohttp import ClientSession, TCPConnector, web

UPSTREAM = web.AppKey("upstream", str)
SESSION = web.AppKey("session", ClientSession)


async def relay(request: web.Request) -> web.StreamResponse:
    body = await request.read()
    session = request.app[SESSION]
    headers = {"authorization": "Bearer x", "content-type": "application/json"}
    url = request.app[UPSTREAM] + request.path
    async with session.post(url, data=body, headers=headers) as answer:
        if "event-stream" not in answer.headers.get("content-type", ""):
            return web.Response(
                body=await answer.read(), status=answer.status, content_type="application/json"
            )
        response = web.StreamResponse(
            status=answer.status, headers={"content-type": "text/event-stream; charset=utf-8"}
        )
        await response.prepare(request)
        async for data in answer.content.iter_any():
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
    application.router.add_post("/v1/chat/completions", relay)
    web.run_app(
        application,
        host="127.0.0.1",
        port=int(sys.argv[1]),
        access_log=None,
        print=None,
        loop=uvloop.new_event_loop(),
    )
