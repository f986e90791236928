"""Cases of client dialects: body → canonical request, events → exact bytes.

A case, in the same files as those of providers::

    {"name": "hello", "frontend": "openai.chat",
     "body": {...} or "text": "...", "headers": {},
     "request": {"type": "chat", ...},
     "events": [{"type": "Started", "id": "c1", "created": 1}, ...],
     "reply": {"json": {...} or "frames": [...] or "text": "..."}}

or, for a body that is refused, ``"error": {"status": 400, "param": "messages"}`` in place of
the last three. `request` may stand without `events`.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import llm_gateway_api as gw
import msgspec

from llm_gateway_testkit import cases


@dataclass(frozen=True, slots=True)
class FrontendCase:
    name: str
    frontend: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    request: gw.CanonicalRequest | None = None
    events: tuple[gw.Event, ...] = ()
    reply: bytes | None = None
    whole: Any = None
    error: Mapping[str, Any] | None = None


def load(folder: Path) -> list[FrontendCase]:
    """Every case of a frontend below `folder`. Raises `ValueError` naming a bad file."""
    found: list[FrontendCase] = []
    for path in sorted(folder.rglob("*.json")):
        try:
            rows = cases.each(json.loads(path.read_text(encoding="utf-8")))
            found += [case(raw) for raw in rows if "frontend" in raw]
        except (KeyError, TypeError, ValueError, msgspec.ValidationError) as error:
            raise ValueError(f"{path} is no conformance case: {error!r}") from error
    return found


def case(raw: Mapping[str, Any]) -> FrontendCase:
    known = {"name", "frontend", "body", "text", "headers", "request", "events", "reply", "error"}
    if unknown := raw.keys() - known:
        raise ValueError(f"unknown members {sorted(unknown)}")
    body = json.dumps(raw["body"]) if "body" in raw else raw["text"]
    reply = raw.get("reply")
    return FrontendCase(
        raw["name"],
        raw["frontend"],
        body.encode(),
        raw.get("headers", {}),
        msgspec.convert(raw["request"], gw.CanonicalRequest) if "request" in raw else None,
        tuple(cases.event(each) for each in raw.get("events", ())),
        None if reply is None else cases.body(reply),
        None if reply is None else reply.get("json"),
        raw.get("error"),
    )


def head_of(frontend: gw.Frontend, case: FrontendCase) -> gw.RequestHead:
    arrival = gw.Arrival("kit-1", "POST", "/", "", case.headers, "127.0.0.1", 0.0)
    return frontend.parse(case.body, arrival)


def check_request(frontend: gw.Frontend, case: FrontendCase) -> None:
    """The body becomes exactly the canonical request, or is refused naming the field."""
    try:
        head = head_of(frontend, case)
        request = frontend.request(head)
    except gw.ClientError as error:
        assert case.error is not None, f"refused: {error.message}"
        found = {"status": error.status, "param": error.param, "code": error.code}
        for name, value in case.error.items():
            assert found[name] == value, f"{name} is {found[name]!r}, not {value!r}"
        return
    assert case.error is None, "a body that is wrong was taken"
    if case.request is not None:
        left, right = (msgspec.to_builtins(each) for each in (request, case.request))
        assert left == right, f"canonical request:\n{left}\nwanted:\n{right}"


def check_reply(frontend: gw.Frontend, case: FrontendCase) -> None:
    """The events become exactly the bytes of the case, together or one by one."""
    if case.reply is None:
        return
    head = head_of(frontend, case)
    together = rendered(frontend, head, [case.events])
    _same_bytes(together, case)
    single = rendered(frontend, head, [[each] for each in case.events])
    assert single == together, f"one by one:\n{single!r}\ntogether:\n{together!r}"


def rendered(
    frontend: gw.Frontend, head: gw.RequestHead, pieces: Sequence[Sequence[gw.Event]]
) -> bytes:
    renderer = frontend.renderer(head)
    return b"".join(renderer.render(each) for each in pieces) + renderer.finish()


def check_errors(frontend: gw.Frontend) -> None:
    """An error is JSON whatever it says, and a frame ends where it should."""
    for error in (
        gw.MalformedBodyError('a "quoted"\nline', param="messages"),
        gw.UpstreamError(gw.FailureClass.RATE_LIMITED, "slow down", retry_after=1),
        gw.GatewayTimeoutError("too late"),
    ):
        assert isinstance(json.loads(frontend.error(error, "kit-1")), dict)
        frame = frontend.error_frame(error, "kit-1")
        assert frame.endswith(b"\n\n") and b"data: " in frame, f"no frame: {frame!r}"
        data = [line[5:] for line in frame.splitlines() if line.startswith(b"data:")]
        assert isinstance(json.loads(data[0]), dict)
    assert frontend.keep_alive().startswith(b":") or b"ping" in frontend.keep_alive()


def check_bodies(frontend: gw.Frontend, case: FrontendCase) -> None:
    """Whatever comes as a body is taken or refused with a 4xx, never anything else."""
    members = json.loads(case.body) if case.body[:1] == b"{" else {}
    wrong = [json.dumps({**members, name: value}).encode() for name in members for value in WRONG]
    for body in (*GARBAGE, *wrong, *(case.body[:end] for end in range(len(case.body)))):
        arrival = gw.Arrival("kit-1", "POST", "/", "", case.headers, "127.0.0.1", 0.0)
        try:
            frontend.request(frontend.parse(body, arrival))
        except gw.ClientError as error:
            assert 400 <= error.status < 500, f"{body[:60]!r}: status {error.status}"
        except Exception as error:
            raise AssertionError(f"{body[:80]!r} raised {error!r}") from error


WRONG: tuple[Any, ...] = (None, True, 7, -1, 1.5, "x", [], [None], [7], {}, {"x": None}, [[]], [{}])
GARBAGE = (b"", b"\x00", b"\xff\xfe", b"null", b"[]", b"{}", b'{"model"', b"{" * 5000)


def _same_bytes(found: bytes, case: FrontendCase) -> None:
    if case.whole is not None:
        left, right = (json.dumps(each, indent=1) for each in (json.loads(found), case.whole))
        assert left == right, f"{case.name}:\n{left}\nwanted:\n{right}"
        return
    assert found == case.reply, f"{case.name}:\n{found!r}\nwanted:\n{case.reply!r}"
