import llm_gateway_api as gw

from {{module}} import plugin

EVENTS = (gw.TextDelta("Low"), gw.Finished("stop"))
ANSWER = gw.CachedAnswer(EVENTS, "m", "acme", "m-1", None, 0.0)
REQUEST = gw.ChatRequest("m", ())


def lookup(key: str = "k") -> gw.Lookup:
    return gw.Lookup(key, "tenant", "", "", REQUEST)


async def test_answer_is_found_until_its_time_is_over() -> None:
    now = [0.0]
    cache = plugin.{{Class}}(clock=lambda: now[0])
    await cache.put(lookup(), ANSWER, 10)

    before = await cache.get(lookup())
    now[0] = 10.0
    after = await cache.get(lookup())

    assert (before, after) == (ANSWER, None)


async def test_no_key_reads_another() -> None:
    cache = plugin.{{Class}}(clock=lambda: 0.0)
    await cache.put(lookup(), ANSWER, 10)

    assert await cache.get(lookup("other")) is None


async def test_oldest_leaves_when_it_is_full() -> None:
    cache = plugin.{{Class}}(clock=lambda: 0.0)
    for at in range(plugin.MAX_ENTRIES + 1):
        await cache.put(lookup(str(at)), ANSWER, 10)

    assert await cache.get(lookup("0")) is None
    assert await cache.get(lookup(str(plugin.MAX_ENTRIES))) == ANSWER
