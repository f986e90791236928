"""What every decoder and every provider must keep to, as plain checks.

Each raises `AssertionError` with what was found. They need bytes only: no socket, no
event loop, no gateway. `suite/` runs them on a plugin's cases.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import llm_gateway_api as gw

from llm_gateway_testkit.cases import Case, written
from llm_gateway_testkit.invariants import check_answer

GARBAGE = (
    b"",
    b"\x00",
    b"\xff\xfe\xfd",
    b"null",
    b"[]",
    b"{}",
    b'{"',
    b"<!doctype html><title>502 Bad Gateway</title>",
    b"data: \n\n",
    b"data: null\n\n",
    b"data: []\n\n",
    b"data: 7\n\n",
    b'data: {"\n\n',
    b'data: {"choices": 1}\n\n',
    b'data: {"choices": [null]}\n\n',
    b'data: {"choices": [{"index": "x", "delta": []}]}\n\n',
    b"data: \xff\xfe\n\n",
    b'data: {"choices": [{"index": 0, "delta": "x"}]}\n\n',
    b'data: {"choices": [{"index": 0, "delta": {"tool_calls": "x"}}]}\n\n',
    b'data: {"type": "response.output_item.added", "item": 7}\n\n',
    b'event: message_start\ndata: {"type": "message_start", "message": []}\n\n',
    b"data: " + b"[" * 5000 + b"\n\n",
    b'{"choices": [{}]}',
    b'{"choices": null, "data": null, "content": 1}',
)


def decoded(factory: gw.DecoderFactory, pieces: Iterable[bytes]) -> list[gw.Event]:
    """The events of one answer that arrives in `pieces`."""
    decoder = factory()
    events = [event for piece in pieces for event in decoder.feed(piece)]
    return events + decoder.finish()


def check_any_cut(factory: gw.DecoderFactory, data: bytes) -> None:
    """Events do not depend on where the network splits the bytes."""
    whole = decoded(factory, [data])
    for cut in range(len(data) + 1):
        _same(decoded(factory, [data[:cut], data[cut:]]), whole, f"cut at byte {cut}")
    single = [data[at : at + 1] for at in range(len(data))]
    _same(decoded(factory, single), whole, "byte by byte")


def check_truncation(factory: gw.DecoderFactory, data: bytes) -> None:
    """An answer that was cut raises `UpstreamError`, or lacks nothing of its content."""
    whole = _content(decoded(factory, [data]))
    for end in range(len(data)):
        try:
            events = decoded(factory, [data[:end]])
        except gw.UpstreamError:
            continue
        except Exception as error:
            raise AssertionError(f"truncated at byte {end}: {error!r}") from error
        _same(_content(events), whole, f"truncated at byte {end} and passed for whole")


def check_garbage(factory: gw.DecoderFactory, data: bytes) -> None:
    """What makes no sense raises `UpstreamError`: alone, and after half of an answer."""
    for garbage in GARBAGE:
        for before in (b"", data[: len(data) // 2]):
            sent = before + garbage
            try:
                events = decoded(factory, [sent])
            except gw.UpstreamError:
                continue
            except Exception as error:
                raise AssertionError(f"{sent[-80:]!r} raised {error!r}") from error
            raise AssertionError(f"{sent[-80:]!r} passed for an answer: {_told(events)}")


def check_sse_forms(factory: gw.DecoderFactory, data: bytes) -> None:
    """Line ends, comments, a missing space and a byte order mark change no event."""
    whole = decoded(factory, [data])
    forms = {
        "CRLF": data.replace(b"\n", b"\r\n"),
        "CR": data.replace(b"\n", b"\r"),
        "comments": b": hello\n\n" + data.replace(b"\n\n", b"\n\n: keep-alive\n\n"),
        "no space": data.replace(b"data: ", b"data:"),
        "byte order mark": b"\xef\xbb\xbf" + data,
    }
    for name, form in forms.items():
        _same(decoded(factory, [form]), whole, name)


def check_decoder(factory: gw.DecoderFactory, data: bytes) -> None:
    """All of the above; the forms of SSE where `data` is a stream of events."""
    check_any_cut(factory, data)
    check_truncation(factory, data)
    check_garbage(factory, data)
    if is_sse(data):
        check_sse_forms(factory, data)


def is_sse(data: bytes) -> bool:
    return data.startswith((b"data:", b"event:", b":"))


def encoded(provider: gw.Provider, case: Case) -> gw.UpstreamRequest:
    """The upstream request of `case`."""
    request = case.request
    if isinstance(request, gw.EmbeddingsRequest):
        assert isinstance(provider, gw.SupportsEmbeddings), f"{case.kind} has no embeddings"
        return provider.encode_embeddings(request)
    if isinstance(request, gw.RerankRequest):
        assert isinstance(provider, gw.SupportsRerank), f"{case.kind} has no rerank"
        return provider.encode_rerank(request)
    if case.operation == "count_tokens":
        assert isinstance(provider, gw.SupportsCountTokens), f"{case.kind} counts no tokens"
        return provider.encode_count(request)
    return provider.encode(request)


def check_upstream(provider: gw.Provider, case: Case) -> None:
    """The request that goes upstream is exactly that of the case, or is refused by name."""
    if case.refusal is not None:
        _check_refusal(provider, case)
        return
    request = encoded(provider, case)
    for name in ("method", "url"):
        if name in case.upstream:
            assert getattr(request, name) == case.upstream[name]
    headers = {name.lower(): value for name, value in request.headers.items()}
    for name, value in case.upstream.get("headers", {}).items():
        assert headers.get(name.lower()) == value, f"header {name}: {headers.get(name.lower())!r}"
    if "body" in case.upstream:
        _same_json(json.loads(request.body), case.upstream["body"])
    if "dropped" in case.upstream:
        assert set(request.dropped) == set(case.upstream["dropped"]), f"dropped {request.dropped}"
    assert request.stream == case.streamed, "the request says otherwise whether it streams"
    _check_clean(request)
    assert encoded(provider, case).body == request.body, "encoding twice gives other bytes"


def check_reply(provider: gw.Provider, case: Case) -> None:
    """The scripted reply is read as the case says: its events, or its failure."""
    factory = encoded(provider, case).decoder
    if case.status >= 400:
        error = provider.classify(case.status, case.headers, case.reply)
        assert isinstance(error, gw.UpstreamError), f"classify returned {error!r}"
        assert error.failure == case.failure, f"{error.failure} instead of {case.failure}"
        if case.retry_after is not None:
            assert error.retry_after == case.retry_after, f"retry after {error.retry_after}"
        return
    try:
        events = decoded(factory, [case.reply])
    except gw.UpstreamError as error:
        assert error.failure == case.failure, f"{error.failure} instead of {case.failure}"
        return
    assert case.failure is None, f"{case.failure} passed for an answer: {_told(events)}"
    _same(events, case.events, case.name)
    check_answer(events, case.totals)


def check_classify(provider: gw.Provider) -> None:
    """Any status with any body is an `UpstreamError`; a vendor's words do not get out."""
    for status in (400, 401, 402, 403, 404, 408, 409, 413, 422, 429, 500, 502, 503, 504, 529, 599):
        for body in GARBAGE:
            error = provider.classify(status, {}, body)
            assert isinstance(error, gw.UpstreamError), f"{status} {body[:40]!r}: {error!r}"
            assert error.upstream_status in (None, status)


def _check_refusal(provider: gw.Provider, case: Case) -> None:
    try:
        encoded(provider, case)
    except gw.ClientError as error:
        assert error.param == case.refusal, f"refused for {error.param!r}, not {case.refusal!r}"
        return
    raise AssertionError(f"{case.refusal} was not refused")


def _check_clean(request: gw.UpstreamRequest) -> None:
    for name, value in request.headers.items():
        assert "\r" not in name + value and "\n" not in name + value, f"header {name} breaks a line"
    assert "content-length" not in {name.lower() for name in request.headers}, "the kernel's own"


def _content(events: Iterable[gw.Event]) -> list[gw.Event]:
    """What was answered; figures that follow the end, as usage does, may be lost with it."""
    return [event for event in events if gw.is_content(event) and not isinstance(event, gw.Unknown)]


def _same(found: Sequence[gw.Event], wanted: Sequence[gw.Event], where: str) -> None:
    if list(found) != list(wanted):
        raise AssertionError(f"{where}:\n  found  {_told(found)}\n  wanted {_told(wanted)}")


def _same_json(found: Any, wanted: Any) -> None:
    """Equality that tells 1 from true and 1 from 1.0, as a strict vendor does."""
    left, right = (json.dumps(each, sort_keys=True, indent=1) for each in (found, wanted))
    assert left == right, f"upstream body:\n{left}\nwanted:\n{right}"


def _told(events: Iterable[gw.Event]) -> str:
    return json.dumps([_short(event) for event in events], ensure_ascii=False, default=repr)


def _short(event: gw.Event) -> Mapping[str, Any]:
    return {name: value for name, value in written(event).items() if value not in (None, {})}
