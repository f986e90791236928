"""Checks of an engine that is not HTTP (`DirectProvider`)."""

import asyncio
from collections.abc import Sequence

import llm_gateway_api as gw

from llm_gateway_testkit.cases import Case, written
from llm_gateway_testkit.invariants import check_answer


async def collected(engine: gw.DirectProvider, request: gw.CanonicalRequest) -> list[gw.Event]:
    return [event async for event in engine.stream(request)]


def check_direct(engine: gw.DirectProvider, case: Case) -> None:
    """The engine answers as the case says, and twice the same way.

    An `id` that the case leaves out of `Started` may be any.
    """
    first = _outcome(engine, case)
    if first is None:
        return
    wanted = [written(each) for each in case.events]
    found = [written(each) for each in first]
    if found and wanted and found[0]["type"] == "Started" and wanted[0].get("id") is None:
        found[0]["id"] = None
    assert found == wanted, f"{case.name}:\n  found  {found}\n  wanted {wanted}"
    check_answer(first, case.totals)
    again = _outcome(engine, case)
    assert again is not None and list(again) == list(first), "a second answer differs"


def check_leaving(engine: gw.DirectProvider, case: Case) -> None:
    """A client that leaves ends the engine's work at once and without an error."""

    async def leave() -> None:
        events = engine.stream(case.request)
        async for _ in events:
            break
        close = getattr(events, "aclose", None)
        assert close is not None, "`stream` is no asynchronous generator: it cannot be ended"
        async with asyncio.timeout(5):
            await close()

    if case.failure is None and case.refusal is None:
        asyncio.run(leave())


def _outcome(engine: gw.DirectProvider, case: Case) -> Sequence[gw.Event] | None:
    """The events, or None for a failure or refusal that the case names."""
    try:
        events = asyncio.run(collected(engine, case.request))
    except gw.UpstreamError as error:
        assert error.failure == case.failure, f"{error.failure} instead of {case.failure}"
        return None
    except gw.ClientError as error:
        assert error.param == case.refusal, f"refused for {error.param!r}, not {case.refusal!r}"
        return None
    assert case.failure is None and case.refusal is None, "passed for an answer"
    return events
