"""Conformance cases as data: canonical request, upstream request, scripted reply, events.

One JSON file holds one case or a list. What a case may say::

    {"name": "hello", "kind": "openai", "settings": {"api_key": "sk-1"},
     "request": {"type": "chat", "model": "m", "messages": [...]},
     "upstream": {"method": "POST", "url": "...", "headers": {...}, "body": {...}},
     "reply": {"status": 200, "headers": {}, "json": {...} or "text": "..." or "frames": [...]
               or "eventstream": [["type", {...}], ...]},
     "events": [{"type": "TextDelta", "text": "Hi"}, ...],
     "totals": {"input": 9, "output": 2}}

`upstream.body` is compared whole, `upstream.headers` where named, `upstream.dropped` as a
set. One of three says how it ends: `events`, a `failure` (what `classify` or the decoder
comes to; with `retry_after` in seconds), or a `refusal` (the request is answered with a 4xx
that names this field, and nothing is sent). `totals` are the vendor's own sums, which the
disjoint meters must add up to. `operation` is ``count_tokens`` for a question of size, and
`capability` overrides what the report counts the case for. An engine that is not HTTP has
neither `upstream` nor `reply`.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import llm_gateway_api as gw
import msgspec

from llm_gateway_testkit import eventstream

_EVENTS: Mapping[str, type[gw.Event]] = {
    kind.__name__: kind
    for kind in (
        gw.Started,
        gw.TextDelta,
        gw.ReasoningDelta,
        gw.RefusalDelta,
        gw.ToolCallDelta,
        gw.EmbeddingVector,
        gw.RankedDocument,
        gw.Finished,
        gw.UsageReport,
        gw.Unknown,
    )
}


@dataclass(frozen=True, slots=True)
class Case:
    """One case; see the module for its form. `reply` is the body's bytes."""

    name: str
    kind: str
    settings: Mapping[str, Any]
    request: gw.CanonicalRequest
    upstream: Mapping[str, Any]
    reply: bytes
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    events: tuple[gw.Event, ...] = ()
    failure: gw.FailureClass | None = None
    refusal: str | None = None
    retry_after: float | None = None
    totals: Mapping[str, int] = field(default_factory=dict)
    operation: str = ""
    capability: str = ""

    @property
    def streamed(self) -> bool:
        return isinstance(self.request, gw.ChatRequest) and self.request.stream


def load(folder: Path) -> list[Case]:
    """Every case below `folder`, in the order of the files' names.

    Raises:
        ValueError: a file is no case; the text names it.
    """
    cases: list[Case] = []
    for path in sorted(folder.rglob("*.json")):
        try:
            rows = list(each(json.loads(path.read_text(encoding="utf-8"))))
        except ValueError as error:
            raise ValueError(f"{path} is no conformance case: {error!r}") from error
        for at, raw in enumerate(rows):
            try:
                cases += [case(raw)] if "frontend" not in raw else []
            except (KeyError, TypeError, ValueError, msgspec.ValidationError) as error:
                named = raw.get("name", f"number {at + 1}") if isinstance(raw, dict) else at + 1
                text = f"{path}: {named} is no conformance case: {error!r}"
                raise ValueError(text) from error
    return cases


def case(raw: Mapping[str, Any]) -> Case:
    """Read one case. Raises `ValueError` and its like where it is none."""
    if unknown := raw.keys() - Case.__dataclass_fields__.keys():
        raise ValueError(f"unknown members {sorted(unknown)}")
    if sum(name in raw for name in ("events", "failure", "refusal")) != 1:
        raise ValueError("a case has either events or a failure or a refusal")
    reply = raw.get("reply", {})
    request = msgspec.convert(raw["request"], gw.CanonicalRequest)
    if lost := list(_lost(raw["request"], msgspec.to_builtins(request), "request")):
        raise ValueError(f"unknown members {lost}")
    return Case(
        name=raw["name"],
        kind=raw["kind"],
        settings=raw.get("settings", {}),
        request=request,
        upstream=raw.get("upstream", {}),
        reply=body(reply),
        status=reply.get("status", 200),
        headers=reply.get("headers", {}),
        events=tuple(event(each) for each in raw.get("events", ())),
        failure=gw.FailureClass(raw["failure"]) if "failure" in raw else None,
        refusal=raw.get("refusal"),
        retry_after=raw.get("retry_after"),
        totals=raw.get("totals", {}),
        operation=raw.get("operation", ""),
        capability=raw.get("capability", ""),
    )


def _lost(raw: object, made: object, at: str) -> Iterator[str]:
    """Where `raw` has members that `made` of it has not."""
    if isinstance(raw, dict) and isinstance(made, dict):
        for name, value in raw.items():
            if name in made:
                yield from _lost(value, made[name], f"{at}.{name}")
            else:
                yield f"{at}.{name}"
    elif isinstance(raw, list) and isinstance(made, list | tuple):
        for index, pair in enumerate(zip(raw, made, strict=False)):
            yield from _lost(*pair, f"{at}[{index}]")


def event(raw: Mapping[str, Any]) -> gw.Event:
    """Read an event from ``{"type": its class, …}``."""
    if raw["type"] not in _EVENTS:
        raise ValueError(f"no event is called {raw['type']!r}: {', '.join(_EVENTS)}")
    rest = {name: value for name, value in raw.items() if name != "type"}
    return msgspec.convert(rest, _EVENTS[raw["type"]])


def written(event: gw.Event) -> dict[str, Any]:
    """The inverse of `event`, for recording a case and for reading a difference."""
    return {"type": type(event).__name__, **msgspec.to_builtins(event)}


def body(reply: Mapping[str, Any]) -> bytes:
    if "json" in reply:
        return json.dumps(reply["json"], ensure_ascii=False).encode()
    if "frames" in reply:
        return b"".join(_frame(each) for each in reply["frames"])
    if "eventstream" in reply:
        return eventstream.stream(reply["eventstream"])
    return str(reply.get("text", "")).encode()


def _frame(raw: object) -> bytes:
    """One SSE event: a string is its data as it stands, anything else is written as JSON.

    A pair of a name and its data is an event with that name.
    """
    if isinstance(raw, list) and len(raw) == 2:
        return gw.frame(_data(raw[1]), str(raw[0]).encode())
    return gw.frame(_data(raw))


def _data(raw: object) -> bytes:
    return raw.encode() if isinstance(raw, str) else json.dumps(raw).encode()


def each(document: Any) -> Iterator[Mapping[str, Any]]:
    yield from document if isinstance(document, list) else [document]
