"""The limiter of rates: who is limited, by what, and what the client is told."""

import asyncio
from typing import Any

import llm_gateway_api as gw
import msgspec
import pytest
from llm_gateway_limit_rate.estimate import Estimator
from llm_gateway_limit_rate.limiter import RateLimiter
from llm_gateway_limit_rate.settings import RateLimitSettings
from llm_gateway_state_host.process import ProcessState


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Gone:
    """A state backend that cannot be reached."""

    async def take(self, takes: Any, *, force: bool = False) -> gw.Grant:
        raise ConnectionError("gone")


def limiter(clock: Clock | None = None, **settings: Any) -> RateLimiter:
    state = ProcessState(clock or Clock())
    return RateLimiter(RateLimitSettings(enabled=True, **settings), state, state, 1, gw.Metrics())


def arrival(principal: gw.Principal = gw.ANONYMOUS, peer: str = "192.0.2.1") -> gw.Arrival:
    return gw.Arrival("req", "POST", "/v1/chat/completions", "", {}, peer, 0.0, principal)


def head(body: bytes = b"x" * 400, dialect: str = "openai.chat", **fields: int) -> gw.RequestHead:
    raw = {name: msgspec.Raw(str(value).encode()) for name, value in fields.items()}
    return gw.RequestHead(dialect, "chat", "m", False, False, raw, body)


def settled(usage: gw.Usage | None, target: bool = True, *, whole: bool = True) -> gw.Settlement:
    return gw.Settlement(gw.Target("p", "m") if target else None, usage, None, whole=whole)


async def asking(
    limits: RateLimiter, seen: gw.Arrival, body: gw.RequestHead
) -> gw.Reservation | gw.Refusal:
    asked = gw.Asked(seen, body.model, "chat", False, len(body.body), False, False)
    return await limits.reserve(asked, body, ())


async def admitted(limiter: RateLimiter, many: int, principal: gw.Principal) -> int:
    answers = [await asking(limiter, arrival(principal), head()) for _ in range(many)]
    return sum(isinstance(each, gw.Reservation) for each in answers)


KEY = gw.Principal(key_id="k1")


async def test_each_key_has_a_bucket_of_its_own() -> None:
    limits = limiter(requests_per_minute=60, burst_size=5)

    assert await admitted(limits, 8, KEY) == 5
    assert await admitted(limits, 8, gw.Principal(key_id="k2")) == 5


async def test_without_a_key_the_address_counts() -> None:
    limits = limiter(requests_per_minute=60, burst_size=2)
    here = [await asking(limits, arrival(), head()) for _ in range(3)]
    there = await asking(limits, arrival(peer="2001:db8::1"), head())

    assert [isinstance(each, gw.Refusal) for each in here] == [False, False, True]
    assert isinstance(there, gw.Reservation)


async def test_a_bucket_refills_by_the_minute() -> None:
    clock = Clock()
    limits = limiter(clock, requests_per_minute=60, burst_size=5)
    await admitted(limits, 5, KEY)
    clock.now += 2.0

    assert await admitted(limits, 5, KEY) == 2


async def test_a_refusal_says_what_is_reached_and_when_to_come_back() -> None:
    limits = limiter(requests_per_minute=60, burst_size=1)
    await admitted(limits, 1, KEY)
    answer = await asking(limits, arrival(KEY), head())

    assert isinstance(answer, gw.Refusal)
    assert (answer.status, answer.code, answer.retry_after) == (429, "rate_limit_exceeded", 1.0)
    assert "60 requests a minute for this key" in answer.message
    assert answer.headers["x-ratelimit-remaining-requests"] == "0"


async def test_zero_blocks_and_null_is_unlimited() -> None:
    blocked = await asking(limiter(requests_per_minute=0), arrival(KEY), head())

    assert isinstance(blocked, gw.Refusal)
    assert blocked.retry_after is None
    assert await admitted(limiter(requests_per_minute=None), 500, KEY) == 500


async def test_tokens_are_guessed_before_and_counted_after() -> None:
    limits = limiter(requests_per_minute=None, tokens_per_minute=1000)
    first = await asking(limits, arrival(KEY), head(max_tokens=100))
    assert isinstance(first, gw.Reservation)
    assert first.headers["x-ratelimit-remaining-tokens"] == "800"
    await limits.settle(first, settled(gw.Usage(input=700, output=250)))
    second = await asking(limits, arrival(KEY), head(max_tokens=100))

    assert isinstance(second, gw.Refusal)
    assert second.headers["x-ratelimit-remaining-tokens"] == "50"


async def test_an_answer_that_ended_early_counts_and_teaches_nothing() -> None:
    """The next is guessed to be as long as answers are that come whole."""
    limits = limiter(requests_per_minute=None, tokens_per_minute=1000)
    left = []
    for _ in range(3):
        answer = await asking(limits, arrival(KEY), head())
        assert isinstance(answer, gw.Reservation)
        left.append(answer.headers["x-ratelimit-remaining-tokens"])
        await limits.settle(answer, settled(gw.Usage(input=90, output=10), whole=False))

    assert left == ["600", "500", "400"]


async def test_what_nobody_answered_costs_no_tokens() -> None:
    limits = limiter(requests_per_minute=None, tokens_per_minute=1000)
    for _ in range(20):
        answer = await asking(limits, arrival(KEY), head())
        assert isinstance(answer, gw.Reservation)
        await limits.settle(answer, settled(None, target=False))


async def test_slots_are_freed_when_the_request_is_settled() -> None:
    limits = limiter(requests_per_minute=None, max_concurrent=2)
    held = [await asking(limits, arrival(KEY), head()) for _ in range(2)]
    assert isinstance(await asking(limits, arrival(KEY), head()), gw.Refusal)
    assert isinstance(held[0], gw.Reservation)
    await limits.settle(held[0], settled(None))

    assert isinstance(await asking(limits, arrival(KEY), head()), gw.Reservation)


async def test_tenants_and_keys_have_limits_without_the_section() -> None:
    limits = RateLimiter(RateLimitSettings(), ProcessState(), ProcessState(), 1, gw.Metrics())
    tenant = gw.Limit("tenant", "requests", 3)
    one = gw.Principal(key_id="a", tenant="t", limits=(tenant,))
    other = gw.Principal(key_id="b", tenant="t", limits=(tenant,))

    assert await admitted(limits, 2, one) + await admitted(limits, 2, other) == 3
    assert await admitted(limits, 500, KEY) == 500


async def test_a_model_may_have_limits_of_its_own() -> None:
    limits = limiter(requests_per_minute=None, models={"m": {"requests_per_minute": 1}})

    assert await admitted(limits, 3, KEY) == 1


async def test_all_or_nothing() -> None:
    """A refusal by one bucket takes nothing of the others."""
    limits = limiter(requests_per_minute=600, burst_size=10, models={"m": {"max_concurrent": 1}})
    await asking(limits, arrival(KEY), head())
    for _ in range(20):
        assert isinstance(await asking(limits, arrival(KEY), head()), gw.Refusal)
    other = msgspec.structs.replace(head(), model="other")

    answer = await asking(limits, arrival(KEY), other)
    assert isinstance(answer, gw.Reservation)
    assert answer.headers["x-ratelimit-remaining-requests"] == "8"


async def test_shadow_counts_and_refuses_nobody() -> None:
    metrics = gw.Metrics()
    state = ProcessState()
    settings = RateLimitSettings(enabled=True, requests_per_minute=60, burst_size=1, shadow=True)
    limits = RateLimiter(settings, state, state, 1, metrics)

    assert await admitted(limits, 4, KEY) == 4
    counter = metrics.counter("gateway_rate_limit_exceeded_total", "", ("scope",))
    assert counter.value("key (shadow)").value == 3


async def test_without_shared_state_each_worker_has_its_share() -> None:
    settings = RateLimitSettings(enabled=True, requests_per_minute=600, burst_size=100)
    gone: Any = Gone()
    limits = RateLimiter(settings, gone, ProcessState(Clock()), 4, gw.Metrics())

    assert await admitted(limits, 60, KEY) == 25


@pytest.mark.parametrize(("fail", "raises"), [("open", False), ("closed", True)])
async def test_other_fail_policies(fail: Any, raises: bool) -> None:
    gone: Any = Gone()
    settings = RateLimitSettings(enabled=True, requests_per_minute=1, fail=fail)
    limits = RateLimiter(settings, gone, ProcessState(), 1, gw.Metrics())

    if raises:
        with pytest.raises(gw.GatewayError, match="cannot be counted"):
            await asking(limits, arrival(KEY), head())
    else:
        assert await admitted(limits, 5, KEY) == 5


async def test_many_at_once_get_exactly_the_limit() -> None:
    limits = limiter(requests_per_minute=60, burst_size=50)
    answers = await asyncio.gather(*(asking(limits, arrival(KEY), head()) for _ in range(300)))

    assert sum(isinstance(each, gw.Reservation) for each in answers) == 50


async def test_anthropics_clients_get_their_own_headers() -> None:
    limits = limiter(requests_per_minute=60, burst_size=5)
    answer = await asking(limits, arrival(KEY), head(dialect="anthropic.messages"))

    assert isinstance(answer, gw.Reservation)
    assert answer.headers["anthropic-ratelimit-requests-remaining"] == "4"
    assert answer.headers["anthropic-ratelimit-requests-reset"].endswith("Z")


def test_a_guess_follows_what_was_seen() -> None:
    estimator = Estimator()
    before = estimator.guess(head(b"x" * 2000))
    for _ in range(200):
        estimator.learn(2000, 1000, 10)

    assert before == 800
    assert 1000 <= estimator.guess(head(b"x" * 2000)) <= 1020
