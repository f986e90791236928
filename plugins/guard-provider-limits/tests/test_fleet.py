"""Workers that share one account's limits."""

import asyncio

import llm_gateway_api as gw
import pytest
from llm_gateway_guard_provider_limits import fleet
from llm_gateway_guard_provider_limits.guard import ProviderLimits
from llm_gateway_state_host.process import ProcessState

TARGET = gw.Target("acme", "m-1")


def asked(prompt_bytes: int = 400) -> gw.Asked:
    arrival = gw.Arrival("r-1", "POST", "/", "", {}, "127.0.0.1", 0.0)
    return gw.Asked(arrival, "m", "chat", False, prompt_bytes, False, False)


class Workers:
    def __init__(self, many: int, **limit: int) -> None:
        self.now = 1000.0
        state = ProcessState(lambda: self.now)
        self.guards = [
            ProviderLimits(
                providers={"acme": gw.ProviderSettings(rate_limit=gw.RateLimit(**limit))},
                clock=lambda: self.now,
                metrics=gw.Metrics(),
                state=state,
                workers=many,
            )
            for _ in range(many)
        ]

    def admitted(self, worker: int, tries: int) -> list[gw.Lease]:
        answers = [self.guards[worker].admit(TARGET, asked()) for _ in range(tries)]
        return [each for each in answers if isinstance(each, gw.Lease)]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet, "NEWS_SECONDS", 0.001)


async def news() -> None:
    await asyncio.sleep(0.01)


@pytest.mark.parametrize("limit", [3, 40, 1000])
async def test_together_they_keep_the_limit(limit: int) -> None:
    """To one request for each further worker, however all of them press."""
    workers = Workers(4, requests_per_minute=limit)
    total = 0
    for _ in range(60):
        total += sum(len(workers.admitted(each, 1000)) for each in range(4))
        await news()

    assert limit <= total <= limit + 3


async def test_one_that_is_busy_alone_gets_all_of_it() -> None:
    workers = Workers(4, requests_per_minute=100)
    total = 0
    for _ in range(60):
        total += len(workers.admitted(2, 1000))
        await news()

    assert total == 100


async def test_what_is_given_back_is_told_too() -> None:
    """Tokens that the vendor did not count."""
    workers = Workers(2, tokens_per_minute=1000)
    (lease,) = workers.admitted(0, 1)
    await news()
    before = workers.guards[1]._accounts["acme"].tokens
    assert before is not None
    counted = before.total
    workers.guards[0].report(lease, gw.Outcome(TARGET, gw.FailureClass.CONNECT, duration=0.1))
    await news()

    assert counted > 0
    assert before.total == 0


async def test_words_of_another_version_change_nothing() -> None:
    workers = Workers(2, requests_per_minute=2)
    workers.guards[0]._fleet._state.publish(fleet.TOPIC, b"[]")  # type: ignore[union-attr]
    await news()

    assert len(workers.admitted(0, 1)) == 1
