"""What an answer used that ended before its end: its client left, or it broke.

The vendor bills what it has read and written until then. Its own figures are taken as far as it
gave any, and what they leave open is estimated from the request and from what came.
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from llm_gateway_api import Event, Usage, UsageReport
from msgspec import structs

from llm_gateway import counting

if TYPE_CHECKING:
    from llm_gateway.pipeline import Call

COUNTED = frozenset({"chat", "completions", "embeddings"})  # what a vendor bills by the token


def so_far(call: "Call") -> Usage | None:
    """What the attempt under way has used; None where the vendor was not asked yet."""
    if not call.sent or call.head.operation not in COUNTED:
        return None
    lane = call.reading
    if lane is None:
        return Usage(input=counting.asked(call), estimated=True)
    told = lane.usage or Usage()
    if lane.usage is not None and (lane.finish_reason or _follows(call, told)):
        return told
    asked = {} if told.input_total else {"input": counting.asked(call)}
    output = told.output + math.ceil(_came(call))
    return structs.replace(told, **asked, output=output, estimated=True)


def _follows(call: "Call", told: Usage) -> bool:
    """Whether the vendor counts along while it answers: what it tells first may be no more than
    a beginning, and say nothing of the answer."""
    events = _events(call)
    if events is not None:
        first = next((each.usage for each in events if isinstance(each, UsageReport)), None)
    else:
        first = call.streaming.told if call.streaming is not None else None
    return told.output_total > (first.output_total if first is not None else 0)


def _came(call: "Call") -> float:
    """Output tokens of what came of the answer."""
    events = _events(call)
    if events is not None:
        return counting.said(events)
    return call.streaming.output() if call.streaming is not None else 0.0


def _events(call: "Call") -> Sequence[Event] | None:
    """Those of the answer; None of one that passed unread."""
    return getattr(call.reading, "events", None)
