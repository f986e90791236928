"""What workers remember, and how a page gets it from all of them."""

import asyncio
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import llm_gateway_api as gw
from llm_gateway_admin_dashboard.watch import (
    MESSAGE_BYTES,
    Gather,
    Question,
    Reply,
    Watch,
    answers_to,
    packed,
    unpacked,
)

TARGET = gw.Target("acme", "m-1", region="eu")


class News:
    """The news of shared state: everybody hears everything, a turn later."""

    def __init__(self) -> None:
        self._told: dict[str, list[Callable[[bytes], None]]] = {}
        self.sizes: list[int] = []

    def publish(self, topic: str, message: bytes) -> None:
        self.sizes.append(len(message))
        for told in self._told.get(topic, ()):
            asyncio.get_running_loop().call_soon(told, message)

    def listen(self, topic: str, told: Callable[[bytes], None]) -> None:
        self._told.setdefault(topic, []).append(told)


def trail(number: int, tenant: str | None = None) -> gw.Trail:
    failed = gw.Attempted(TARGET, gw.FailureClass.CONNECT, 502, None, 0.1, 5.0)
    usage = gw.Usage(input=3, output=number)
    return gw.Trail(
        *(number, f"r-{number}", "chat", "m", False, tenant, "k-1", 200, None, 0.5, 0.1),
        *("routing.models", None, (("other/m", "weight 0"),), (gw.Candidate("acme/m-1", 1.0),), 1),
        *((failed,), 2, "acme/m-1", "eu", "connect", None, usage, Decimal("0.001")),
    )


def watching(news: Any, name: str, recent: int = 100) -> Watch:
    watch = Watch(recent, metrics=gw.Metrics(), state=news)
    watch.worker = name
    news.listen("dashboard.asked", watch.heard)
    return watch


async def gathered(news: Any, workers: int) -> Gather:
    gather = Gather(news, workers)
    gather.listen()
    return gather


async def test_a_page_has_the_trails_of_all_workers_whole() -> None:
    news: Any = News()
    one, two = watching(news, "one"), watching(news, "two")
    one.trail(trail(1))
    two.trail(trail(2))

    replies = await (await gathered(news, 2)).trails(10, None)

    assert {each.worker: list(each.trails) for each in replies} == {
        "one": [trail(1)],
        "two": [trail(2)],
    }


async def test_a_tenant_gets_its_own_trails_alone() -> None:
    news: Any = News()
    watch = watching(news, "one")
    for number, tenant in enumerate(("acme", "globex", None, "acme")):
        watch.trail(trail(number, tenant))

    (reply,) = await (await gathered(news, 1)).trails(10, "acme")

    assert [each.request_id for each in reply.trails] == ["r-3", "r-0"]


async def test_one_request_is_found_by_its_id() -> None:
    news: Any = News()
    watch = watching(news, "one")
    for number in range(5):
        watch.trail(trail(number))

    (reply,) = await (await gathered(news, 1)).trails(1, None, "r-2")

    assert [each.request_id for each in reply.trails] == ["r-2"]


async def test_a_worker_forgets_the_oldest() -> None:
    news: Any = News()
    watch = watching(news, "one", recent=2)
    for number in range(5):
        watch.trail(trail(number))

    assert [each.request_id for each in watch.trails] == ["r-3", "r-4"]


def test_a_busy_second_is_remembered_in_part() -> None:
    """Failures have room of their own, however many requests are answered."""
    now = [100.0]
    watch = Watch(10, metrics=gw.Metrics(), state=None, clock=lambda: now[0])

    good = sum(watch.wants(200) for _ in range(1000))
    bad = sum(watch.wants(503) for _ in range(20))
    now[0] += 1

    assert (good, bad) == (50, 20)
    assert watch.wants(200)
    assert not Watch(0, metrics=gw.Metrics(), state=None).wants(200)


async def test_a_worker_that_is_gone_is_not_waited_for_without_end() -> None:
    """Nor do answers to another page count."""
    news: Any = News()
    watching(news, "one")
    gather = await gathered(news, 2)
    await gathered(news, 1)

    replies = await gather.points(0)

    assert [each.worker for each in replies] == ["one"]


async def test_what_is_no_answer_is_left_alone() -> None:
    news: Any = News()
    watching(news, "one")
    gather = await gathered(news, 1)
    news.publish(answers_to(gather._page), b"garbage")
    await asyncio.sleep(0)

    assert len(await gather.points(0)) == 1


def test_an_answer_that_is_too_long_keeps_what_is_newest() -> None:
    """News of shared state have a size that they may not exceed."""
    many = [trail(number, f"{number:x}" * 500) for number in range(3000, 0, -1)]

    data = packed(Reply("page", 1, "one", trails=many))

    found = unpacked(data)
    assert len(data) <= MESSAGE_BYTES
    assert found is not None
    assert 0 < len(found.trails) < 3000
    assert found.trails[0].request_id == "r-3000"


def test_points_since_a_moment() -> None:
    watch = Watch(1, metrics=gw.Metrics(), state=None)
    for at in (100, 105, 110):
        watch.slots.take(gw.Metrics().families(), at)

    found = watch.answer(Question("page", 1, "points", since=105))

    assert [each.at for each in found.points] == [110]
