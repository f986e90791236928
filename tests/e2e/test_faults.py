"""What a client sees when the provider breaks: a status that says why, or an error frame."""

import asyncio
import json
from typing import Any

import pytest
from llm_gateway_testkit import openai_dialect as openai
from llm_gateway_testkit.rawclient import call
from llm_gateway_testkit.scripted import Answer, Cut, Garbage, Hang, Reset, Step, Stream

pytestmark = pytest.mark.asyncio(loop_scope="session")

STREAM = Stream(openai.chat_stream())
ANSWER = openai.chat_answer()

BEFORE_CONTENT = {
    "hang before headers": (Hang(), 504, "upstream_timeout"),
    "hang after headers": (Hang("after_headers", of=STREAM), 504, "upstream_timeout"),
    "hang after the role": (Hang("between", 1, STREAM), 504, "upstream_timeout"),
    "reset before headers": (Reset(), 502, "upstream_truncated"),
    "reset after headers": (Reset("after_headers", of=STREAM), 502, "upstream_truncated"),
    "cut before headers": (Cut(), 502, "upstream_truncated"),
    "cut after headers": (Cut("after_headers", of=STREAM), 502, "upstream_truncated"),
    "cut after the role": (Cut("between", 1, STREAM), 502, "upstream_truncated"),
    "an empty stream": (Stream([]), 502, "upstream_truncated"),
    "no HTTP": (Garbage(), 502, "upstream_truncated"),
    "no JSON": (Answer(body=b"<html>"), 502, "upstream_truncated"),
}
# Before each frame of a stream: a fault that comes in one segment with the first content is
# found before the client has seen anything, and is then a plain error.
PAUSE = 0.05
AFTER_CONTENT: dict[str, Step] = {
    "reset": Reset("between", 2, STREAM),
    "cut": Cut("between", 2, STREAM),
    "cut inside a frame": Cut("mid_body", 2, STREAM),
    "hang": Hang("between", 2, STREAM),
    "error frame": Stream([*openai.chat_stream()[:2], openai.error_frame()], PAUSE),
    "no JSON": Stream([*openai.chat_stream()[:2], b"data: {nonsense\n\n"], PAUSE),
    "a clean end without its mark": Stream(openai.chat_stream()[:2], PAUSE),
    "close without its mark": Stream(openai.chat_stream()[:2], PAUSE, framing="close"),
}
REFUSED: list[tuple[Answer, int, str | None]] = [
    (openai.error_answer(400, "invalid_value", param="top_p"), 400, "invalid_value"),
    (openai.error_answer(400, "context_length_exceeded"), 400, "context_length_exceeded"),
    (openai.error_answer(401, "invalid_api_key"), 502, "upstream_credentials"),
    (openai.error_answer(403, "insufficient_permissions"), 502, "upstream_credentials"),
    (openai.error_answer(404, "model_not_found"), 502, "upstream_model_gone"),
    (openai.error_answer(429, "rate_limit_exceeded", type="tokens"), 429, "rate_limit_exceeded"),
    (openai.error_answer(429, "insufficient_quota"), 502, "upstream_quota"),
    (openai.error_answer(500), 502, "upstream_error"),
    (openai.error_answer(503, "server_is_overloaded"), 503, "upstream_overloaded"),
    (Answer(502, {"content-type": "text/html"}, b"<html>Bad Gateway"), 502, "upstream_error"),
]


def error_of(body: bytes) -> dict[str, Any]:
    error = json.loads(body)["error"]
    assert set(error) >= {"message", "type", "param", "code"}
    assert error["message"]
    return dict(error)


@pytest.mark.parametrize("name", BEFORE_CONTENT)
async def test_stream_broken_before_content(site: Any, name: str) -> None:
    """Until content has come, a broken stream is a plain error with its own status."""
    step, status, code = BEFORE_CONTENT[name]
    site.provider.default = step

    reply = await site.chat(stream=True)

    assert (reply.status, error_of(reply.body)["code"]) == (status, code)
    assert reply.headers["content-type"].startswith("application/json")
    assert reply.headers["x-request-id"]


@pytest.mark.parametrize(
    ("step", "status", "code"),
    [
        (Hang(), 504, "upstream_timeout"),
        (Hang("after_headers", of=ANSWER), 504, "upstream_timeout"),
        (Hang("mid_body", of=ANSWER), 504, "upstream_timeout"),
        (Reset(), 502, "upstream_truncated"),
        (Reset("mid_body", of=ANSWER), 502, "upstream_truncated"),
        (Cut("mid_body", of=ANSWER), 502, "upstream_truncated"),
        (Garbage(), 502, "upstream_truncated"),
        (Answer(body=b'{"id": "chatcmpl'), 502, "upstream_truncated"),
        (Answer(body=b""), 502, "upstream_truncated"),
    ],
)
async def test_plain_answer_broken(site: Any, step: Step, status: int, code: str) -> None:
    """Half an answer is no answer."""
    site.provider.default = step

    reply = await site.chat()

    assert (reply.status, error_of(reply.body)["code"]) == (status, code)


@pytest.mark.parametrize("name", AFTER_CONTENT)
async def test_stream_broken_after_content(site: Any, name: str) -> None:
    """What the client has seen stands; then comes an error frame, and never ``[DONE]``."""
    site.provider.default = AFTER_CONTENT[name]

    reply = await site.chat(stream=True)

    assert reply.status == 200
    frames = reply.body.split(b"\n\n")
    assert b"\n\n".join(frames[:2]) + b"\n\n" == b"".join(openai.chat_stream()[:2])
    assert frames[-1] == b""
    assert frames[-2].startswith(b'data: {"error"')
    error_of(frames[-2].removeprefix(b"data: "))
    assert b"[DONE]" not in reply.body
    assert len(site.provider.received) == 1


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("answer", "status", "code"), REFUSED)
async def test_refused_by_the_provider(
    site: Any, answer: Answer, status: int, code: str, stream: bool
) -> None:
    """The caller's faults keep their status; what concerns our account becomes 502."""
    site.provider.default = answer

    reply = await site.chat(stream=stream)

    assert (reply.status, error_of(reply.body)["code"]) == (status, code)


async def test_vendors_param_is_kept(site: Any) -> None:
    """The field that the vendor names is named to the client."""
    site.provider.enqueue(openai.error_answer(400, "invalid_value", param="top_p"))

    assert error_of((await site.chat(top_p=7)).body)["param"] == "top_p"


async def test_retry_after_is_passed_on(site: Any) -> None:
    """A wait that the vendor asks for reaches the client."""
    answer = openai.error_answer(429, "rate_limit_exceeded", headers={"retry-after": "7"})
    site.provider.enqueue(answer)

    reply = await site.chat()

    assert (reply.status, reply.headers["retry-after"]) == (429, "7")


async def test_nobody_listens(site: Any) -> None:
    """A refused connection is told from one that hangs."""
    reply = await site.chat(model="refused/gpt-6-sol")

    assert (reply.status, error_of(reply.body)["code"]) == (502, "upstream_unreachable")


@pytest.mark.parametrize("fault", [Cut(), Reset()])
async def test_stale_connection_is_replaced(site: Any, fault: Step) -> None:
    """A kept connection that dies before any byte of the answer costs no attempt."""
    site.provider.enqueue(ANSWER, fault, ANSWER)

    replies = [await site.chat(), await site.chat()]

    assert [reply.status for reply in replies] == [200, 200]
    assert len(site.provider.received) == 3


@pytest.mark.parametrize("fault", [openai.error_answer(500), Cut(), Reset()])
async def test_retry_then_success(site: Any, fault: Step) -> None:
    """A fault that another try may mend costs the client nothing but time."""
    site.provider.enqueue(fault, ANSWER)

    reply = await site.chat(model="patient/gpt-6-sol")

    assert reply.status == 200
    assert reply.json["choices"][0]["message"]["content"] == "Low tide"
    assert len(site.provider.received) == 2


async def test_callers_fault_is_not_retried(site: Any) -> None:
    """A 400 is final."""
    site.provider.default = openai.error_answer(400, "invalid_value")

    assert (await site.chat(model="patient/gpt-6-sol")).status == 400
    assert len(site.provider.received) == 1


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("step", [Hang(), Hang("after_headers", of=STREAM)])
async def test_client_that_leaves_while_it_waits(site: Any, step: Hang, stream: bool) -> None:
    """A client that hangs up ends the call to the provider within a second."""
    site.provider.enqueue(step)
    client = asyncio.create_task(site.chat(stream=stream))
    await site.provider.wait_received(1)
    during = site.provider.connections_open

    client.cancel()

    # Less than the provider's own deadline of a second, which would end it too.
    await site.provider.wait_closed(during - 1, timeout_s=0.7)


async def test_client_that_leaves_a_stream(site: Any) -> None:
    """So does one that leaves in the middle of a stream."""
    site.provider.enqueue(Hang("between", 2, STREAM))

    async with site.chatting(stream=True) as answer:
        await answer.until(b"Low")
        during = site.provider.connections_open

    await site.provider.wait_closed(during - 1, timeout_s=0.7)


async def test_gateway_lives_after_all_this(site: Any) -> None:
    """Whatever happened before, the next request is answered."""
    site.provider.enqueue(ANSWER)

    assert (await site.chat()).body == ANSWER.body
    assert (await call(f"{site.gateway.url}/health/live")).status == 200
