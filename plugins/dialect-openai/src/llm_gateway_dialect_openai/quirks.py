"""How a server differs from OpenAI itself, as data: a provider's own and an operator's."""

from typing import Literal, Self

import llm_gateway_api as gw
from pydantic import Field

Reasoning = Literal["reasoning_content", "reasoning", "reasoning_details"]


class ParameterRule(gw.Section):
    """What becomes of parameters for the models that match; every matching rule holds."""

    models: str = Field(default="*", description="pattern of model names (* and ?)")
    rename: dict[str, str] = Field(default={}, description="canonical name to the vendor's")
    drop: tuple[str, ...] = Field(default=(), description="left out and reported")
    refuse: tuple[str, ...] = Field(default=(), description="answered with 400")


class Quirks(gw.Section):
    """Differences of a server from OpenAI. The defaults are OpenAI's own behaviour."""

    max_tokens_field: Literal["max_completion_tokens", "max_tokens"] = Field(
        default="max_completion_tokens", description="the member that limits the output"
    )
    developer_role: Literal["keep", "system"] = Field(
        default="keep", description="what becomes of the role developer"
    )
    drop_fields: tuple[str, ...] = Field(default=(), description="parameters that are left out")
    reject_fields: tuple[str, ...] = Field(default=(), description="parameters that are refused")
    extra_fields: tuple[str, ...] = Field(
        default=(), description="further parameters that the server takes (top_k, min_p)"
    )
    parameters: tuple[ParameterRule, ...] = Field(default=(), description="rules by model")
    send_null: bool = Field(default=True, description="whether a parameter may be null")
    stream_usage: bool = Field(default=True, description="whether it takes stream_options")
    reasoning_in: tuple[Reasoning, ...] = Field(
        default=("reasoning_content", "reasoning", "reasoning_details"),
        description="where reasoning stands in an answer; the first that is there is read",
    )
    reasoning_out: Reasoning | Literal["drop"] = Field(
        default="drop", description="where earlier reasoning is sent back"
    )
    reasoning_param: Literal["reasoning_effort", "reasoning", "thinking"] = Field(
        default="reasoning_effort", description="how reasoning is asked for"
    )
    reasoning_efforts: dict[str, str] = Field(
        default={}, description="efforts that the server calls otherwise"
    )
    response_formats: tuple[Literal["json_object", "json_schema"], ...] = Field(
        default=("json_object", "json_schema"), description="forms of structured output"
    )
    custom_tools: bool = Field(default=True, description="whether it takes custom tools")
    allowed_tools: bool = Field(
        default=True, description="whether it takes tool_choice allowed_tools"
    )
    tool_choice_required: Literal["required", "any"] = Field(
        default="required", description="the word that forces a tool call"
    )
    strip_strict: bool = Field(default=False, description="leave strict out of tools")
    flatten_text_parts: bool = Field(default=False, description="text parts become one string")
    image_detail: Literal["keep", "strip"] = Field(
        default="keep", description="what becomes of an image's detail"
    )
    finish_fix: bool = Field(
        default=False, description="stop becomes tool_calls where the answer calls tools"
    )
    keep_unknown: bool = Field(
        default=True, description="pass members on that this dialect does not name"
    )
    responses_bridge: bool | None = Field(
        default=None,
        description="ask /responses where chat refuses; as the provider knows if absent",
    )
    relay: bool = Field(default=True, description="pass bytes of clients of this dialect through")

    def overlaid(self, given: "Quirks") -> Self:
        """These, with the ones that were set in `given`."""
        return self.model_copy(
            update={name: getattr(given, name) for name in given.model_fields_set}
        )

    @property
    def transparent(self) -> bool:
        """Whether a client's body may go upstream as it is."""
        return self == self.model_copy(update=_SAME) and self.relay


# A body passes where nothing that changes bodies differs from OpenAI itself.
_ANSWERS = (
    "stream_usage", "reasoning_in", "finish_fix", "keep_unknown", "responses_bridge", "relay",
    "extra_fields", "send_null", "reasoning_out",
)  # fmt: skip
_SAME = {name: field.default for name, field in Quirks.model_fields.items() if name not in _ANSWERS}
