"""What each security filter costs a request, alone and together.

    uv run --all-packages python tests/bench/filters.py

Microseconds for each request, median of rounds; no socket, no provider. `scenarios.py` has the
same over the wire, but for signing: its load repeats its bytes, and a signature is taken once.
"""

import asyncio
import json
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter

import llm_gateway_api as gw
import msgspec
from llm_gateway.screening import UNTOUCHED, Outgoing
from llm_gateway_filter_headers import plugin as headers
from llm_gateway_filter_ip import plugin as ip
from llm_gateway_filter_signing import plugin as signing
from llm_gateway_filter_validation import plugin as validation
from llm_gateway_filter_validation.settings import ValidationSettings
from llm_gateway_sdk import RequestSigning
from llm_gateway_state_host.host import HostState
from llm_gateway_state_host.process import ProcessState
from multidict import CIMultiDict, CIMultiDictProxy

ROUNDS = 9
SECRET = "bench-secret-0123456789abcdef-0123"
PATH = "/v1/chat/completions"
LISTED = [f"10.{one}.{two}.0/24" for one in range(20) for two in range(50)]
SENT = [
    ("Host", "api.example.com"),
    ("Accept", "application/json"),
    ("Accept-Encoding", "gzip, deflate, zstd"),
    ("Connection", "keep-alive"),
    ("User-Agent", "OpenAI/Python 3.1.0"),
    ("Authorization", "Bearer bench-key-0123456789abcdef"),
    ("Content-Type", "application/json"),
    ("Content-Length", "1500"),
    ("X-Stainless-Lang", "python"),
    ("X-Forwarded-For", "198.51.100.9, 203.0.113.7"),
]
TIMES = 400


def chat(size: int) -> bytes:
    """Messages of 1.25 KB, `size` bytes of them; one letter in a hundred is not ASCII."""
    turn = {"role": "user", "content": ("word " * 19 + "wörd ") * 12}
    turns = [turn] * max(1, size // 1250)
    return json.dumps({"model": "gpt-bench", "messages": turns}, ensure_ascii=False).encode()


def arrival(*more: tuple[str, str]) -> gw.Arrival:
    sent = CIMultiDictProxy(CIMultiDict([*SENT, *more]))
    return gw.Arrival("r", "POST", PATH, "", sent, "127.0.0.1", 0.0)


def admission(body: bytes, *more: tuple[str, str]) -> gw.Admission:
    fields = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    head = gw.RequestHead("bench", "chat", "gpt-bench", False, False, fields, body)
    return gw.Admission(arrival(*more), head)


async def cost(
    ask: Callable[[gw.Seen], Awaitable[object]], seen: gw.Seen, times: int = TIMES
) -> float:
    """Median µs of a call."""
    rounds = []
    for _ in range(ROUNDS):
        start = perf_counter()
        for _ in range(times):
            answer = await ask(seen)
        rounds.append((perf_counter() - start) / times * 1e6)
        assert not isinstance(answer, gw.Refusal), answer
    return round(median(rounds), 2)


async def early() -> dict[str, float]:
    """Before the body is read."""
    proxies = ip.resolver(ip.ClientAddressSettings(trusted_proxies=("127.0.0.1",)))
    lists = ip.IPFilter(
        ip.IPFilterSettings(enabled=True, whitelist=(*LISTED, "127.0.0.0/8")), gw.Metrics()
    )
    given = headers.HeaderSettings(allowed_hosts=("api.example.com", "*.example.org"))
    strip, size = headers.stripper(given), validation.size(ValidationSettings(counts=True))
    assert proxies is not None and strip is not None and size is not None
    asked = {
        "ip: 1,001 ranges": lists,
        "ip: trusted proxy": proxies,
        "headers: hosts, connection": headers.HeaderFilter(given),
        "headers: credentials stripped": strip,
        "validation: claimed size": size,
    }
    seen = arrival()
    return {name: await cost(each.inspect, seen) for name, each in asked.items()}


async def shapes(size: int) -> dict[str, float]:
    body = chat(size)
    counted = {"counts": True, "max_messages": None, "max_request_size_bytes": None}
    settings = {
        "shapes": ValidationSettings(),
        "shapes, limits": ValidationSettings.model_validate(counted),
        "shapes, limits, characters": ValidationSettings.model_validate(
            {**counted, "control_characters": "clean", "invisible_characters": "refuse"}
        ),
    }
    seen = admission(body)
    return {
        f"validation: {name}, {len(body) // 1000} KB": await cost(
            validation.ValidationFilter(each).inspect, seen, max(5, 500_000 // size)
        )
        for name, each in settings.items()
    }


async def signatures(folder: Path) -> dict[str, float]:
    """Signed before the clock runs: each is taken once."""
    body, signer = chat(1500), RequestSigning(SECRET, "k")
    settings = signing.SigningSettings.model_validate({"enabled": True, "secrets": {"k": SECRET}})
    found = {}
    async with AsyncExitStack() as stack:
        for name, state in (("process", ProcessState()), ("host", HostState(folder / "state"))):
            await stack.enter_async_context(state.open())
            filter_ = signing.SigningFilter(settings, state, gw.Metrics())
            signed = [
                admission(body, ("X-Signature", signer.signature("POST", PATH, "", body)))
                for _ in range(ROUNDS * TIMES)
            ]
            taken = partial(_next, filter_, iter(signed))
            found[f"signing: 1.5 KB, state {name}"] = await cost(taken, arrival())
    return found


async def _next(filter_: gw.SecurityFilter, signed: Iterator[gw.Seen], _: gw.Seen) -> object:
    return await filter_.inspect(next(signed))


async def answers() -> dict[str, float]:
    """Beside what an answer's head costs without the filter."""
    laid = Outgoing([headers.HeaderFilter(headers.HeaderSettings())])
    own = {f"x-gateway-{name}": "value" for name in ("provider", "model", "attempts", "cost")}

    async def lines(_: gw.Seen, outgoing: Outgoing = laid) -> object:
        return outgoing.lines(own)

    async def plain(_: gw.Seen) -> object:
        return UNTOUCHED.lines(own)

    with_them, without = await cost(lines, arrival()), await cost(plain, arrival())
    return {"headers: laid around an answer": round(with_them - without, 2)}


async def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        for part in (
            early(),
            shapes(1250),
            shapes(1_000_000),
            signatures(Path(folder)),
            answers(),
        ):
            for name, value in (await part).items():
                print(f"{value:9.2f} µs  {name}")


if __name__ == "__main__":
    asyncio.run(main())
