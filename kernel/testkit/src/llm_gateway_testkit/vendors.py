"""Every vendor's dialect as one table: what a client's tests script, whoever answers.

`VENDORS` has a row for each kind of provider. `scripted` runs their servers, `settings` is what a
gateway's ``providers`` says of them.
"""

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from llm_gateway_testkit import (
    anthropic_dialect,
    azure_dialect,
    bedrock_dialect,
    cohere_dialect,
    gemini_dialect,
    mistral_dialect,
    openai_dialect,
    responses_dialect,
    together_dialect,
)
from llm_gateway_testkit.scripted import Answer, Received, ScriptedProvider, Stream

KEY = "k-scripted"
TOOL = "tide_at"
ARGUMENTS = {"port": "Brest"}
FORM = '{"port":"Brest","hour":14}'
Validator = Callable[[Received], Answer | None]
Step = Callable[[], Any]


@dataclass(frozen=True, slots=True)
class Vendor:
    """One kind of provider and what its server may say.

    `says` and `streams` answer with a text, `calls` and `streams_calls` call `TOOL` once with
    `ARGUMENTS`, `limits` is a 429. `settings` are those beside the address, `address` the key
    and the path of the latter. Without `forms` a schema for the answer is refused by name.
    `on_responses` is the row for clients of the Responses API where the vendor has it itself.
    """

    kind: str
    model: str
    validator: Validator
    says: Callable[[str], Any]
    streams: Callable[[Sequence[str]], Any]
    calls: Step
    streams_calls: Step
    limits: Step
    settings: Mapping[str, Any] = field(default_factory=lambda: {"api_key": KEY})
    address: tuple[str, str] = ("base_url", "")
    forms: bool = True
    on_responses: "Vendor | None" = None

    @property
    def name(self) -> str:
        return f"{self.kind}/{self.model}"

    def configured(self, url: str) -> dict[str, Any]:
        """The entry of ``providers`` for a server at `url`."""
        key, path = self.address
        return {"kind": self.kind, "max_retries": 0, key: url + path, **self.settings}


def _streamed(made: Callable[..., Sequence[bytes]], *given: Any, **members: Any) -> Stream:
    return Stream(made(*given, **members))


def _counted(
    made: Callable[..., Sequence[bytes]], texts: Sequence[str] = (), **more: Any
) -> Stream:
    return Stream(made(texts, include_usage=True, **more))


def _openai_like(kind: str, model: str, **changes: Any) -> Vendor:
    call = openai_dialect.ToolCall("call_1", TOOL, ('{"port":', '"Brest"}'))
    made = openai_dialect.chat_stream
    rest: dict[str, Any] = {
        "validator": openai_dialect.strict(KEY),
        "says": openai_dialect.chat_answer,
        "streams": partial(_counted, made),
        "calls": partial(openai_dialect.chat_answer, None, tool_calls=[call]),
        "streams_calls": partial(_counted, made, tool_calls=[call]),
        "limits": partial(openai_dialect.error_answer, 429, "rate_limit_exceeded"),
        "address": ("base_url", "/v1"),
    }
    return Vendor(kind, model, **{**rest, **changes})


def _dialect(kind: str, dialect: Any, call: Any, **changes: Any) -> Vendor:
    """Of a module whose functions are like OpenAI's."""
    made = dialect.chat_stream
    rest: dict[str, Any] = {
        "validator": dialect.strict(KEY),
        "says": dialect.chat_answer,
        "streams": partial(_streamed, made),
        "calls": partial(dialect.chat_answer, None, tool_calls=[call]),
        "streams_calls": partial(_streamed, made, (), tool_calls=[call]),
        "limits": partial(dialect.error_answer, 429),
    }
    return Vendor(kind, changes.pop("model", None) or dialect.MODEL, **{**rest, **changes})


def _anthropic() -> Vendor:
    call = anthropic_dialect.tool_use("toolu_1", TOOL, **ARGUMENTS)

    def says(text: str) -> Answer:
        return anthropic_dialect.message_answer(anthropic_dialect.text(text))

    def streams(texts: Sequence[str]) -> Stream:
        return Stream(anthropic_dialect.message_stream(anthropic_dialect.text("".join(texts))))

    return Vendor(
        "anthropic",
        anthropic_dialect.MODEL,
        anthropic_dialect.strict(KEY),
        says,
        streams,
        partial(anthropic_dialect.message_answer, call),
        partial(_streamed, anthropic_dialect.message_stream, call),
        partial(anthropic_dialect.error_answer, 429),
    )


def _gemini() -> Vendor:
    call = gemini_dialect.call(TOOL, ARGUMENTS, signature="c2ln")

    def says(text: str) -> Answer:
        return gemini_dialect.chat_answer([gemini_dialect.text(text)])

    def streams(texts: Sequence[str]) -> Stream:
        return Stream(gemini_dialect.chat_stream([gemini_dialect.text(each) for each in texts]))

    return Vendor(
        "gemini",
        gemini_dialect.MODEL,
        gemini_dialect.strict(KEY),
        says,
        streams,
        partial(gemini_dialect.chat_answer, [call]),
        partial(_streamed, gemini_dialect.chat_stream, [call]),
        partial(gemini_dialect.error_answer, 429),
    )


def _bedrock() -> Vendor:
    call = bedrock_dialect.ToolCall("tooluse_1", TOOL, ('{"port":', '"Brest"}'))
    made = bedrock_dialect.converse_stream
    return Vendor(
        "bedrock",
        bedrock_dialect.MODEL,
        bedrock_dialect.strict(),
        bedrock_dialect.converse_answer,
        lambda texts: bedrock_dialect.streamed(made(texts)),
        partial(bedrock_dialect.converse_answer, None, tool_calls=[call]),
        lambda: bedrock_dialect.streamed(made((), tool_calls=[call])),
        partial(bedrock_dialect.error_answer, "ThrottlingException"),
        {
            "region": "us-east-1",
            "access_key_id": "AKIDEXAMPLE",
            "secret_access_key": "scripted-secret",
        },
    )


def _on_responses(chat: Vendor) -> Vendor:
    call = {**responses_dialect.CALL, "name": TOOL}

    def says(text: str) -> Answer:
        return responses_dialect.answer(responses_dialect.message(text))

    return replace(
        chat,
        says=says,
        streams=lambda texts: Stream(responses_dialect.text_stream(texts)),
        calls=lambda: responses_dialect.answer(call),
        streams_calls=lambda: Stream(responses_dialect.call_stream(call)),
    )


def _azure(call: openai_dialect.ToolCall) -> Vendor:
    chat = _dialect(
        "azure_openai",
        azure_dialect,
        call,
        model="chat",
        settings={"api_key": KEY, "deployments": {"chat": {"base_model": "gpt-4o"}}},
        address=("endpoint", ""),
        streams=partial(_counted, azure_dialect.chat_stream),
        streams_calls=partial(_counted, azure_dialect.chat_stream, tool_calls=[call]),
    )
    return replace(chat, on_responses=_on_responses(chat))


def _xai() -> Vendor:
    chat, native = openai_dialect.strict(KEY), responses_dialect.strict(KEY)

    def validate(request: Received) -> Answer | None:
        return (native if request.path == responses_dialect.PATH else chat)(request)

    found = _openai_like("xai", "grok-4.3", validator=validate)
    return replace(found, on_responses=_on_responses(found))


def vendors() -> tuple[Vendor, ...]:
    pieces = ('{"port":', '"Brest"}')
    call = openai_dialect.ToolCall("call_1", TOOL, pieces)
    return (
        _openai_like("openai", openai_dialect.MODEL),
        _anthropic(),
        _azure(call),
        _gemini(),
        _bedrock(),
        _dialect(
            "cohere",
            cohere_dialect,
            openai_dialect.ToolCall("tide_at_k3", TOOL, ('{"port":', '"Brest"}')),
            model="command-a-plus-05-2026",
        ),
        _dialect(
            "mistral",
            mistral_dialect,
            openai_dialect.ToolCall("a1b2c3d4e", TOOL, call.arguments),
            address=("base_url", "/v1"),
        ),
        _dialect("together", together_dialect, call, address=("base_url", "/v1")),
        _openai_like("groq", "openai/gpt-oss-120b"),
        _openai_like(
            "deepseek",
            "deepseek-v4-pro",
            validator=openai_dialect.strict(KEY, frozenset({"thinking"})),
            forms=False,
        ),
        _xai(),
        _openai_like("openrouter", "a/model"),
        _openai_like("fireworks", "a-model"),
        _openai_like("ollama", "a-model"),
        _openai_like("vllm", "a-model"),
    )


@asynccontextmanager
async def scripted(rows: Iterable[Vendor]) -> AsyncIterator[dict[str, ScriptedProvider]]:
    """A strict server for each row, by its kind."""
    async with AsyncExitStack() as stack:
        yield {
            each.kind: await stack.enter_async_context(ScriptedProvider(validator=each.validator))
            for each in rows
        }
