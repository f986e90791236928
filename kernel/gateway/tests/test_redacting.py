"""The gateway's own lines: personal data is hidden, ids and times are not."""

import io
import json
import logging
from typing import Any

from llm_gateway.masking import Scrubbing, secrets_in
from llm_gateway.observe import AccessLog, Line, Tokens
from llm_gateway.redacting import Formatter, Redaction
from llm_gateway_api import Redact, Value
from pydantic import BaseModel, SecretStr

FORM = "%(levelname)s %(message)s"


def hide(text: str) -> str:
    return text.replace("ada", "[X]")


def broken(text: str) -> str:
    raise ValueError(text)


def line(request_id: str, model: str, **members: Any) -> Line:
    return Line(
        "2026-11-24T22:12:40.123Z", "INFO", "t", "done", request_id, "up", model, 1.5,
        Tokens(1, 2), 200, **members,
    )  # fmt: skip


async def written(by: Redact | None, *lines: Line) -> tuple[list[Any], float]:
    """The lines that were written, and how many were dropped."""
    stream, dropped, redaction = io.BytesIO(), Value(), Redaction()
    redaction.hide = by
    log = AccessLog(stream, dropped, redaction, flush_seconds=0)
    for each in lines:
        log.add(each)
    log.close()
    return [json.loads(each) for each in stream.getvalue().splitlines()], dropped.value


async def test_what_a_caller_invents_is_hidden_and_ids_stay() -> None:
    (first, second), dropped = await written(
        hide, line("ada-1", "ada", error="no ada", key_id="ada-k", attempts=2), line("r-2", "m")
    )

    assert (first["model"], first["error"]) == ("[X]", "no [X]")
    assert (first["request_id"], first["key_id"]) == ("ada-1", "ada-k")
    assert first["timestamp"] == "2026-11-24T22:12:40.123Z"
    assert (first["tokens"], first["attempts"]) == ({"input": 1, "output": 2}, 2)
    assert second["model"] == "m"
    assert dropped == 0


async def test_nothing_is_hidden_where_the_configuration_says_so() -> None:
    (only,), _ = await written(None, line("r", "ada"))

    assert only["model"] == "ada"


async def test_lines_that_cannot_be_redacted_are_dropped_and_counted() -> None:
    assert await written(broken, line("r", "ada"), line("r", "m")) == ([], 2)


def test_the_log_is_redacted_too() -> None:
    redaction = Redaction()
    form = Formatter(logging.Formatter(FORM), redaction).format
    record = logging.LogRecord("n", logging.INFO, "", 0, "asked by %s", ("ada",), None)

    assert form(record) == "INFO asked by ada"
    redaction.hide = hide
    assert form(record) == "INFO asked by [X]"
    redaction.hide = broken
    assert "ada" not in form(record)
    assert "redaction.failed" in form(record)


def test_what_is_secret_in_the_settings_shows_in_no_line() -> None:
    """Whoever logs it: keys, whatever holds them, and passwords in addresses; no short word."""

    class Own(BaseModel):
        key: SecretStr
        short: SecretStr = SecretStr("ollama")
        named: dict[str, SecretStr]
        several: tuple[SecretStr, ...]
        url: str

    own = Own(
        key=SecretStr("canary-0123456789"),
        named={"a": SecretStr("canary-of-a-mapping")},
        several=(SecretStr("canary-of-a-tuple"),),
        url="redis://u:canary-pw@h/0",
    )
    found = [each.get_secret_value() for each in secrets_in({"own": own})]
    form = Scrubbing(logging.Formatter(FORM), frozenset(secrets_in([own]))).format
    text = f"ollama at {own.url} {found}"
    record = logging.LogRecord("n", logging.INFO, "", 0, text, (), None)

    assert found == ["canary-0123456789", "canary-of-a-mapping", "canary-of-a-tuple", "canary-pw"]
    assert "canary" not in form(record)
    assert "ollama at redis://u:" in form(record)
