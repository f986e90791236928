"""The security filters together, over the wire: nothing gets by, and nothing breaks."""

import asyncio
import contextlib
import json
import os
import re
import shutil
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import pytest_asyncio
from llm_gateway_sdk import AsyncClient, ChatRequest, GatewayError, Message, RequestSigning
from llm_gateway_testkit import openai_dialect as openai
from llm_gateway_testkit.gateway import Gateway, running_gateway
from llm_gateway_testkit.rawclient import Reply, call
from llm_gateway_testkit.scripted import ScriptedProvider
from llm_gateway_testkit.steps import Stream
from openai import AsyncOpenAI

pytestmark = pytest.mark.asyncio(loop_scope="module")

ROOT = Path(__file__).parents[2]
UPSTREAM_KEY = "sk-test-upstream"
ADMIN_KEY = "admin-key-0123456789abcdef"
SECRET = "signing-secret-0123456789abcdef-0123"
CALLER, LIAR, BLOCKED = "203.0.113.7", "198.51.100.9", "192.0.2.66"
CHAT = {"model": "up/gpt-6-sol", "messages": [{"role": "user", "content": "hi"}]}
CHAT_PATH = "/v1/chat/completions"


def configuration(provider: ScriptedProvider, **security: Any) -> dict[str, Any]:
    return {
        "providers": {
            "up": {"kind": "openai", "api_key": UPSTREAM_KEY, "base_url": f"{provider.url}/v1"}
        },
        "security": security,
    }


SIGNED = {"request_signing": {"enabled": True, "secrets": {"2026-01": SECRET}}}
LISTED = {
    "ip_filter": {"enabled": True, "blacklist": [BLOCKED]},
    "client_address": {"trusted_proxies": ["127.0.0.1"]},
    "headers": {"allowed_hosts": ["127.0.0.1", "api.example.com"]},
    "validation": {"max_messages": 3, "max_request_size_bytes": 20_000},
    "rate_limit": {"requests_per_minute": 100_000, "burst_size": 1000},
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def provider() -> AsyncIterator[ScriptedProvider]:
    async with ScriptedProvider(validator=openai.strict(UPSTREAM_KEY)) as found:
        yield found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def armed(provider: ScriptedProvider) -> AsyncIterator[Gateway]:
    """A gateway with lists, hosts, limits and shapes; its proxy is this machine."""
    async with running_gateway(configuration(provider, **LISTED)) as gateway:
        yield gateway


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def four(
    provider: ScriptedProvider, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[list[Gateway]]:
    """Four processes that demand signatures and share the state of their host."""
    env = {
        "LLM_GATEWAY_DATA_DIR": str(tmp_path_factory.mktemp("shared")),
        "LLM_GATEWAY_ADMIN_KEY": ADMIN_KEY,
    }
    config = configuration(provider, **SIGNED) | {"state": {"backend": "host"}}
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(running_gateway(config, env)) for _ in range(4)]


@pytest.fixture(autouse=True)
def fresh(provider: ScriptedProvider) -> None:
    provider.reset()


async def chat(gateway: Gateway, body: Any = None, **headers: str) -> Reply:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    url = f"{gateway.url}{CHAT_PATH}"
    return await call(url, CHAT if body is None else body, key=gateway.api_key, headers=named)


# --- signing ---------------------------------------------------------------------------


async def test_a_replay_is_refused_by_every_worker(
    four: list[Gateway], provider: ScriptedProvider
) -> None:
    """Sent to four at once, one takes it, and nobody takes it later."""
    provider.enqueue(openai.chat_answer())
    body = json.dumps(CHAT).encode()
    header = RequestSigning(SECRET, "2026-01").signature("POST", CHAT_PATH, "", body)

    at_once = await asyncio.gather(*(chat(each, body, x_signature=header) for each in four))
    later = [await chat(each, body, x_signature=header) for each in four]

    assert sorted(each.status for each in at_once) == [200, 401, 401, 401]
    refused = [each for each in (*at_once, *later) if each.status == 401]
    assert {each.json["error"]["code"] for each in refused} == {"request_replayed"}
    assert len(refused) == 7


async def test_four_workers_take_a_signature_once_whatever_their_clients_clocks_say(
    provider: ScriptedProvider,
) -> None:
    """Of one gateway with four workers and two secrets: each of many connections sends the same
    signed request, and one is answered. A clock that is off by less than the window signs, one
    that is off by more does not, and both secrets do while they are exchanged."""
    provider.default = openai.chat_answer("Ho")
    secrets = {"2026-01": SECRET, "2026-02": SECRET[::-1]}
    signed = {"request_signing": {"enabled": True, "secrets": secrets}}
    body = json.dumps(CHAT).encode()

    def header(key: str, off: float = 0.0, secret: str | None = None) -> str:
        signer = RequestSigning(secret or secrets[key], key, now=lambda: time.time() + off)
        return signer.signature("POST", CHAT_PATH, "", body)

    async with running_gateway(
        configuration(provider, **signed), args=("--workers", "4")
    ) as gateway:
        pids = await gateway.serving(4)
        once = [header(key) for key in secrets]
        replayed = await asyncio.gather(
            *(chat(gateway, body, x_signature=each) for each in once for _ in range(24))
        )
        rows = {
            "early": header("2026-01", -200.0),
            "late": header("2026-02", 200.0),
            "too early": header("2026-01", -400.0),
            "too late": header("2026-02", 400.0),
            "unknown": header("2026-03", secret=SECRET),
            "exchanged": header("2026-02", secret=SECRET),
        }
        replies = {name: await chat(gateway, body, x_signature=each) for name, each in rows.items()}

    assert len(pids) == 4
    assert sorted(each.status for each in replayed) == [200] * 2 + [401] * 46
    assert {each.json["error"]["code"] for each in replayed if each.status == 401} == {
        "request_replayed"
    }
    assert {name for name, each in replies.items() if each.status == 200} == {"early", "late"}


async def test_our_client_signs_each_attempt(
    four: list[Gateway], provider: ScriptedProvider
) -> None:
    """So that a retry is no replay; without the secret nothing is answered."""
    provider.enqueue(*[openai.chat_answer("Ho")] * 2)
    request = ChatRequest("up/gpt-6-sol", [Message.user("hi")])
    signing = RequestSigning(SECRET, "2026-01")

    async with AsyncClient(four[0].url, four[0].api_key, signing=signing) as client:
        answers = [await client.chat(request) for _ in range(2)]
        models = await client.models()
    async with AsyncClient(four[0].url, four[0].api_key) as client:
        with pytest.raises(GatewayError) as unsigned:
            await client.chat(request)
        with pytest.raises(GatewayError) as listing:
            await client.models()

    assert [each.choices[0].message.content for each in answers] == ["Ho", "Ho"]
    assert models is not None
    assert unsigned.value.status == listing.value.status == 401


async def test_a_vendors_client_signs(four: list[Gateway], provider: ScriptedProvider) -> None:
    """Any that takes a client of httpx."""
    provider.enqueue(openai.chat_answer("Ho"))
    auth = RequestSigning(SECRET, "2026-01")
    async with (
        httpx.AsyncClient(auth=auth) as http,
        AsyncOpenAI(
            base_url=f"{four[1].url}/v1", api_key=four[1].api_key, http_client=http
        ) as client,
    ):
        answer = await client.chat.completions.create(
            model="up/gpt-6-sol", messages=[{"role": "user", "content": "hi"}]
        )

    assert answer.choices[0].message.content == "Ho"


@pytest.mark.skipif(not (shutil.which("curl") and shutil.which("openssl")), reason="no curl")
async def test_the_documented_recipe(four: list[Gateway], provider: ScriptedProvider) -> None:
    """The lines of the README, run as they stand there."""
    provider.enqueue(openai.chat_answer("Ho"))
    readme = (ROOT / "plugins/filter-signing/README.md").read_text(encoding="utf-8")
    block = re.search(r"```sh\n(URL=.*?)```", readme, re.S)
    assert block is not None
    script = block[1].replace("http://localhost:8080", four[2].url).replace("gpt-4o", CHAT["model"])
    env = {"PATH": os.environ["PATH"], "SIGNING_SECRET": SECRET, "API_KEY": four[2].api_key}

    process = await asyncio.create_subprocess_exec(
        "sh", "-c", script, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, env=env
    )
    output, _ = await asyncio.wait_for(process.communicate(), 20)

    assert json.loads(output)["choices"][0]["message"]["content"] == "Ho"


async def test_probes_need_no_signature(four: list[Gateway]) -> None:
    assert (await call(f"{four[0].url}/health/live")).status == 200


# --- addresses ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", [CHAT_PATH, "/v1/models", "/health", "/openapi.json", "/nope", "/admin/v1/x"]
)
async def test_a_blocked_address_reaches_no_route(armed: Gateway, path: str) -> None:
    """With a key or without, whether the route exists or not; a probe alone is answered."""
    for key in (armed.api_key, None):
        blocked = await call(f"{armed.url}{path}", key=key, headers={"x-forwarded-for": BLOCKED})
        assert (blocked.status, blocked.json["error"]["code"]) == (403, "address_not_allowed")
    probe = await call(f"{armed.url}/health/live", headers={"x-forwarded-for": BLOCKED})

    assert probe.status == 200


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        ((f"x-forwarded-for: {CALLER}",), 200),
        ((f"x-forwarded-for: {BLOCKED}, {CALLER}",), 200),
        ((f"x-forwarded-for: {CALLER}, {BLOCKED}",), 403),
        ((f"x-forwarded-for: {CALLER}", f"x-forwarded-for: {BLOCKED}"), 403),
        ((f"X-Forwarded-For: {CALLER}", f"x-FORWARDED-for:{BLOCKED}"), 403),
        ((f"forwarded: for={CALLER}", f"x-forwarded-for: {BLOCKED}"), 403),
        ((f"x-real-ip: {CALLER}", f"x-forwarded-for: {BLOCKED}"), 403),
        ((f"x-forwarded-for: {BLOCKED}", "connection: x-forwarded-for"), 403),
        ((f"x-forwarded-for: ::ffff:{BLOCKED}",), 403),
        ((f"x-forwarded-for: [::ffff:{BLOCKED}]:99",), 403),
        ((f"x-forwarded-for: {BLOCKED}:80",), 403),
        ((f"x-forwarded-for: {CALLER}, 127.0.0.1, {BLOCKED}, 127.0.0.1",), 403),
        ((f"x-forwarded-for: {CALLER}, unknown",), 400),
        (("x-forwarded-for:",), 400),
        (("x-forwarded-for: 3221225026",), 400),
        (("x-forwarded-for: 0300.0.2.66",), 400),
    ],
)
async def test_spoofed_addresses(armed: Gateway, lines: tuple[str, ...], status: int) -> None:
    """The proxy's own entry counts, however the client's are dressed up."""
    answers = await raw(armed, get("/health", *lines))

    assert answers[0][0] == status


# --- headers -----------------------------------------------------------------------------


async def test_every_answer_carries_the_headers(armed: Gateway, provider: ScriptedProvider) -> None:
    """Plain, streamed, refused, unknown, of either port; and nothing that tells."""
    provider.enqueue(openai.chat_answer(), Stream(openai.chat_stream()))
    answers = [
        await chat(armed),
        await chat(armed, {**CHAT, "stream": True}),
        await chat(armed, {}),
        await call(f"{armed.url}/v1/models"),
        await call(f"{armed.url}/nope"),
        await call(f"{armed.url}/health"),
        await call(f"{armed.metrics_url}/metrics"),
    ]

    for each in answers:
        assert each.headers["x-content-type-options"] == "nosniff"
        assert each.headers["strict-transport-security"].startswith("max-age=")
        assert each.headers["content-security-policy"].startswith("default-src 'none'")
        assert not {"server", "x-powered-by", "set-cookie"} & each.headers.keys()
    malformed = await raw(armed, b"NOT HTTP\r\n\r\n")
    assert malformed[0][0] == 400 and b"x-content-type-options: nosniff" in malformed[0][1]


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        (("host: api.example.com",), 200),
        (("host: API.example.com:443",), 200),
        (("host: evil.example",), 400),
        (("host: api.example.com.evil.example",), 400),
        (("host: api.example.com", "host: evil.example"), 400),
        (("host: evil.example", "x-forwarded-host: api.example.com"), 400),
        (("host: api.example.com@evil.example",), 400),
        (("host:",), 400),
        ((), 400),
    ],
)
async def test_hosts_over_the_wire(armed: Gateway, lines: tuple[str, ...], status: int) -> None:
    answers = await raw(armed, get("/health", *lines, host=False))

    assert [each[0] for each in answers] == [status]


async def test_credentials_do_not_reach_the_provider(
    armed: Gateway, provider: ScriptedProvider
) -> None:
    """Nor cookies, nor the caller's address."""
    provider.enqueue(openai.chat_answer())

    answer = await chat(armed, cookie="c=canary", x_forwarded_for=f"{LIAR}, {CALLER}")

    assert answer.status == 200
    sent = str(provider.received[-1].headers)
    for secret in (armed.api_key, "canary", LIAR, CALLER):
        assert secret not in sent


# --- probes ------------------------------------------------------------------------------

BODY = json.dumps(CHAT).encode()
SMUGGLED = b"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 0\r\n\r\n"
CHUNKED = b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)
# What comes between the request line and the body; the key is sent with none but the last three.
PROBES: dict[str, tuple[bytes, bytes]] = {
    "length and chunks": (b"content-length: 4\r\ntransfer-encoding: chunked", CHUNKED),
    "chunks and length": (b"transfer-encoding: chunked\r\ncontent-length: 4", CHUNKED),
    "two lengths": (b"content-length: 0\r\ncontent-length: %d" % len(SMUGGLED), SMUGGLED),
    "a list of lengths": (b"content-length: 0, %d" % len(SMUGGLED), SMUGGLED),
    "a signed length": (b"content-length: +5", b"hello"),
    "a negative length": (b"content-length: -1", b""),
    "a length in hex": (b"content-length: 0x5", b"hello"),
    "an odd coding": (b"transfer-encoding: xchunked", CHUNKED),
    "a coding before a space": (b"transfer-encoding : chunked", CHUNKED),
    "a coding after a tab": (b"transfer-encoding:\tchunked\r\ncontent-length: 3", CHUNKED),
    "a coding twice": (b"transfer-encoding: chunked\r\ntransfer-encoding: identity", CHUNKED),
    "a folded header": (b"x-a: 1\r\n content-length: 9\r\ncontent-length: 0", SMUGGLED),
    "a bare line feed": (b"x-a: 1\ncontent-length: 0", SMUGGLED),
    "a bare carriage return": (b"x-a: 1\rcontent-length: 0", SMUGGLED),
    "a NUL in a header": (b"x-a: 1\0\r\ncontent-length: 0", b""),
    "no colon": (b"x-a\r\ncontent-length: 0", b""),
    "no name": (b": 1\r\ncontent-length: 0", b""),
    "a name with a space": (b"x a: 1\r\ncontent-length: 0", b""),
    "an odd chunk": (b"transfer-encoding: chunked", b"zz\r\nhello\r\n0\r\n\r\n"),
    "a chunk of a huge size": (b"transfer-encoding: chunked", b"f" * 40 + b"\r\nx"),
    "a chunk with an extension": (
        b"transfer-encoding: chunked",
        b"0;\n\r\n" + SMUGGLED,
    ),
    "a chunk in hex notation": (b"transfer-encoding: chunked", b"0x0\r\n\r\n" + SMUGGLED),
    "a chunk before a space": (b"transfer-encoding: chunked", b"0 \r\n\r\n" + SMUGGLED),
    "chunks of bare line feeds": (b"transfer-encoding: chunked", b"0\n\n" + SMUGGLED),
    "a coding before chunks": (b"transfer-encoding: gzip, chunked", CHUNKED),
    "a coding after chunks": (b"transfer-encoding: chunked, gzip", CHUNKED),
    "chunks twice": (b"transfer-encoding: chunked\r\ntransfer-encoding: chunked", CHUNKED),
    "a coding after a vertical tab": (b"transfer-encoding: \x0bchunked", CHUNKED),
    "a coding in quotes": (b'transfer-encoding: "chunked"', CHUNKED),
    "an empty coding": (b"transfer-encoding:\r\ncontent-length: 0", SMUGGLED),
    "the same length twice": (b"content-length: 0\r\ncontent-length: 0", SMUGGLED),
    "a length with a point": (b"content-length: 5.0", b"hello"),
    "an empty length": (b"content-length:", SMUGGLED),
    "codings and an upgrade": (
        b"transfer-encoding: gzip, chunked\r\nconnection: upgrade\r\nupgrade: websocket",
        CHUNKED,
    ),
    "two hosts": (b"host: evil.example\r\ncontent-length: 0", SMUGGLED),
    "a huge header": (b"x-a: " + b"a" * 100_000 + b"\r\ncontent-length: 0", SMUGGLED),
    "a thousand headers": (b"\r\n".join(b"x-%d: a" % n for n in range(1000)), SMUGGLED),
}


@pytest.mark.parametrize("name", PROBES)
async def test_smuggling(armed: Gateway, provider: ScriptedProvider, name: str) -> None:
    """No second request comes of it, nothing reaches the provider, and nothing is a 5xx."""
    lines, body = PROBES[name]
    sent = b"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\n%b\r\n\r\n%b" % (lines, body)

    answers = await raw(armed, sent)

    refused, *after = [status for status, _ in answers]
    assert 400 <= refused < 500
    assert after in ([], [200]), "something else was answered too"
    assert not provider.received and not provider.unexpected
    assert (await call(f"{armed.url}/health/live")).status == 200


@pytest.mark.parametrize(
    "line",
    ["POST /v1/chat/completions HTTP/1.0", "GET /v1/models", "GET /v1/models HTTP/1.2",
     "GET\t/v1/models HTTP/1.1",
     "get /v1/models HTTP/1.1", "GET /v1/models HTTP/1.1 ", "GET * HTTP/1.1",
     "CONNECT 127.0.0.1:80 HTTP/1.1", "GET v1/models HTTP/1.1", "GET http:/v1/models HTTP/1.1"],
)  # fmt: skip
async def test_request_lines(armed: Gateway, provider: ScriptedProvider, line: str) -> None:
    """With a good key and a body in chunks: each is told that it is none of HTTP/1.1's."""
    head = [line, "host: 127.0.0.1", f"authorization: Bearer {armed.api_key}"]
    head.append("transfer-encoding: chunked")
    sent = "\r\n".join([*head, "\r\n"]).encode() + CHUNKED

    (first, *_) = await raw(armed, sent)

    assert 400 <= first[0] < 500
    assert not provider.received


# Spellings of one route, for a reader who stops at another place than we do.
TRICKS = (
    "//admin/v1/keys", "/admin//v1/keys", "/admin/v1/keys/", "/ADMIN/v1/keys", "/admin%2fv1%2Fkeys",
    "/admin/v1/keys%00", "/admin/v1/keys;x=1", "/;/admin/v1/keys", "/v1/../admin/v1/keys",
    "/health/live/../../admin/v1/keys", "/health/live/..%2f..%2fadmin/v1/keys",
    "/health/live/%2e%2e/%2e%2e/admin/v1/keys", "/./admin/v1/keys", "/admin/v1/keys/.",
    "/admin/v1/keys/..", "/admin\\v1\\keys", "/admin/v1/keys%3fx", "/admin/v1/keys%20",
    "/admin/v1/keys%0d%0ax:y", "/health/live;/../admin/v1/keys", "/health/live%2f", "/health/live/",
    "//health/live", "/HEALTH/LIVE", "///admin/v1/keys", "/%c0%ae%c0%ae/admin/v1/keys",
    "/v1/models/..%2f..%2fadmin%2fv1%2fkeys", "/v1/models/../../admin/v1/keys",
    "/v1/chat%2fcompletions", "/v1%2fmodels", "/http://127.0.0.1/admin/v1/keys",
    "/dashboard/../admin/v1/keys",
)  # fmt: skip
SAME = ("/admin/v1/keys", "/%61dmin/v1/keys", "/admin/v1/%6beys?", "http://127.0.0.1/admin/v1/keys")


async def test_no_spelling_of_a_path_is_a_way_around(
    provider: ScriptedProvider,
) -> None:
    """What is no route is none however it is written: the admin's key opens it no more than a
    user's does, nothing is served without one, and a blocked address has not even that. An
    encoded slash is part of a name; encoded letters are the letters."""
    env = {"LLM_GATEWAY_ADMIN_KEY": ADMIN_KEY}
    keys = {"nobody": None, "user": "", "admin": ADMIN_KEY}
    found: dict[tuple[str, str], int] = {}
    async with running_gateway(configuration(provider, **LISTED), env) as gateway:
        for path in (*TRICKS, *SAME):
            for who, key in keys.items():
                lines = [] if key is None else [f"authorization: Bearer {key or gateway.api_key}"]
                ((found[path, who], _),) = await raw(gateway, get(path, *lines))
            blocked = get(path, f"authorization: Bearer {ADMIN_KEY}", f"x-forwarded-for: {BLOCKED}")
            ((found[path, "blocked"], _),) = await raw(gateway, blocked)

    for path in TRICKS:
        assert {found[path, who] for who in keys} <= {303, 400, 401, 403, 404}, path
        assert found[path, "admin"] in (303, 400, 404), path
        assert found[path, "blocked"] in (400, 403), path
    for path in SAME:
        assert [found[path, who] for who in (*keys, "blocked")] == [401, 403, 200, 403], path
    assert not provider.received


@pytest.mark.parametrize(
    ("target", "host", "status"),
    [
        ("http://127.0.0.1/health", "127.0.0.1", 200),
        ("http://evil.example/health", "127.0.0.1", 400),
        ("http://127.0.0.1/health", "evil.example", 200),
        ("http://api.example.com:80/health", "api.example.com", 200),
        ("http://user@127.0.0.1/health", "127.0.0.1", 400),
        ("http://127.0.0.1@evil.example/health", "127.0.0.1", 400),
        ("http:///health", "127.0.0.1", 400),
    ],
)
async def test_an_address_that_names_a_host_is_what_counts(
    armed: Gateway, target: str, host: str, status: int
) -> None:
    """RFC 9112, 3.2.2: `Host` is ignored where the request's own address says it."""
    answers = await raw(armed, get(target, f"host: {host}", host=False))

    assert [each[0] for each in answers] == [status]


async def test_what_follows_a_refusal_is_a_request_of_its_own(
    armed: Gateway, provider: ScriptedProvider
) -> None:
    """Neither the body of a refused request nor its key is the next one's."""
    hidden = get("/v1/models", f"authorization: Bearer {armed.api_key}")
    sent = (
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer wrong\r\n"
        b"content-length: %d\r\n\r\n%b" % (len(hidden), hidden)
    )
    sent += b"GET /v1/models HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n"

    statuses = [status for status, _ in await raw(armed, sent)]

    assert statuses in ([401], [401, 401, 200]), "the last is the harmless one that `raw` adds"
    assert not provider.received


@pytest.mark.parametrize("fuzz", range(40))
async def test_noise(armed: Gateway, provider: ScriptedProvider, fuzz: int) -> None:
    """A good head with a byte exchanged is taken or told what is wrong, never a 5xx."""
    head = bytearray(
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\nx-forwarded-for: %b\r\n"
        b"content-length: 0\r\nconnection: close\r\n\r\n" % BLOCKED.encode()
    )
    head[(fuzz * 7) % len(head)] = (fuzz * 37) % 256

    answers = await raw(armed, bytes(head) + b"\r\n\r\n")

    assert all(400 <= status < 500 for status, _ in answers[:1]), answers
    assert all(status < 500 for status, _ in answers), answers
    assert not provider.received


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({**CHAT, "messages": [{"role": "root", "content": "x"}]}, 400, "messages[0].role"),
        ({**CHAT, "messages": ["x"]}, 400, "messages[0]"),
        ({**CHAT, "messages": CHAT["messages"] * 4}, 400, "messages"),
        ({**CHAT, "messages": [{"role": "user", "content": "x" * 20_000}]}, 413, None),
    ],
)
async def test_shapes_on_the_relay_lane(
    armed: Gateway, provider: ScriptedProvider, body: Mapping[str, Any], status: int, param: str
) -> None:
    """Before anything is sent to the provider."""
    answer = await chat(armed, dict(body))

    assert (answer.status, answer.json["error"]["param"]) == (status, param)
    assert not provider.received


# --- all off -------------------------------------------------------------------------------


async def test_security_off(provider: ScriptedProvider) -> None:
    """Disarms all, limits too, and says so at start."""
    provider.enqueue(*[openai.chat_answer()] * 2)
    security = (
        LISTED
        | SIGNED
        | {
            "enabled": False,
            "rate_limit": {"requests_per_minute": 1, "burst_size": 1},
            "headers": {"allowed_hosts": ["api.example.com"]},
        }
    )
    async with running_gateway(configuration(provider, **security)) as gateway:
        url = f"{gateway.url}{CHAT_PATH}"
        answers = [await call(url, CHAT, headers={"x-forwarded-for": BLOCKED}) for _ in range(2)]
        said = [line for line in gateway.log_lines() if "security.enabled: false" in line]

    assert [each.status for each in answers] == [200, 200]
    assert "x-content-type-options" not in answers[0].headers
    assert len(said) == 1


async def test_security_off_is_refused_where_others_reach_it(provider: ScriptedProvider) -> None:
    config = configuration(provider, enabled=False)

    with pytest.raises(AssertionError, match=r"exit code 78") as refused:
        async with running_gateway(config, args=("-H", "0.0.0.0")):
            pass

    assert "security.enabled: false disarms" in str(refused.value)


# --- tools -----------------------------------------------------------------------------------


def get(path: str, *lines: str, host: bool = True) -> bytes:
    head = [f"GET {path} HTTP/1.1", *["host: 127.0.0.1"] * host, *lines]
    if not any(line.startswith("connection") for line in lines):
        head.append("connection: close")
    return "\r\n".join([*head, "\r\n"]).encode("latin-1")


NEXT = b"GET /health/live HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n"
SILENT_SECONDS = 3.0


async def raw(gateway: Gateway, data: bytes) -> list[tuple[int, bytes]]:
    """Status and head of each answer to `data`, and to a harmless request after the first.

    What is left of a body may swallow that one, so that silence is an end too.
    """
    parts = urlsplit(gateway.url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    received = b""
    try:
        writer.write(data)
        async with asyncio.timeout(20):
            received = await reader.readuntil(b"\r\n\r\n")
        writer.write(NEXT)
        with contextlib.suppress(TimeoutError, ConnectionError):
            async with asyncio.timeout(SILENT_SECONDS):
                while more := await reader.read(65536):
                    received += more
    finally:
        writer.close()
    heads = re.findall(rb"HTTP/1\.[01] \d{3} .*?\r\n\r\n", received, re.S)
    return [(int(head.split(b" ")[1]), head) for head in heads]
