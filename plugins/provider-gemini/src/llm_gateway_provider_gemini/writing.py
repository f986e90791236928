"""A canonical request as a ``generateContent`` body; tables say what becomes of what."""

import re
from collections.abc import Mapping
from typing import Any, Literal

import llm_gateway_api as gw

from llm_gateway_provider_gemini import signatures
from llm_gateway_provider_gemini.contents import Conversation
from llm_gateway_provider_gemini.media import Media
from llm_gateway_provider_gemini.models import LEVELS, Family
from llm_gateway_provider_gemini.schema import cleaned
from llm_gateway_provider_gemini.tools import choice, declarations

# Canonical name: (the vendor's member, what the family must have).
TUNING: dict[str, tuple[str, Literal["sampling", "penalties"] | None]] = {
    "max_tokens": ("maxOutputTokens", None),
    "temperature": ("temperature", "sampling"),
    "top_p": ("topP", "sampling"),
    "top_k": ("topK", "sampling"),
    "presence_penalty": ("presencePenalty", "penalties"),
    "frequency_penalty": ("frequencyPenalty", "penalties"),
}
REFUSED = {
    "audio": "This provider answers in text; leave 'audio' out.",
    "web_search_options": "Ask for the vendor's search with google.tools, and leave "
    "'web_search_options' out.",
}
TIERS = {"flex": "flex", "priority": "priority", "default": "standard", "auto": None}
# The client's own member `google`: its names in either spelling, and where they go.
EXTENSIONS = {
    "safetySettings": "body",
    "cachedContent": "body",
    "labels": "body",
    "tools": "tools",
    "thinkingConfig": "generation",
    "responseModalities": "generation",
    "speechConfig": "generation",
    "imageConfig": "generation",
    "mediaResolution": "generation",
}
MAX_STOPS = 5
LABEL = re.compile(r"[a-z0-9_\-]{0,63}")
NAME = re.compile(r"[A-Za-z0-9_.\-]{1,64}")


class Writing:
    """One body in the making, with what it could not say."""

    def __init__(self, request: gw.ChatRequest, family: Family, vertex: bool, maker: str) -> None:
        self.body: dict[str, Any] = {}
        self.generation: dict[str, Any] = {}
        self.lost: set[str] = set()
        self._request = request
        self._family = family
        self._vertex = vertex
        self._maker = maker

    def write(self, media: Media) -> None:
        request = self._request
        conversation = Conversation(self._family, media, self._maker)
        conversation.take(request.messages)
        if conversation.lost:
            self.lost.add("reasoning")
        self.lost |= {*gw.unnamed(request, signatures.BESIDE, signatures.BESIDE)}
        if conversation.system:
            self.body["systemInstruction"] = {"parts": conversation.system}
        self._tools()
        for name, value in request.params.items():
            if value is not None:
                self._param(name, value)
        for name, value in request.extra.items():
            self._extra(name, value)
        if self.generation:
            self.body["generationConfig"] = self.generation
        self.body["contents"] = conversation.contents

    @property
    def dropped(self) -> tuple[str, ...]:
        return tuple(sorted(each if NAME.fullmatch(each) else "other" for each in self.lost))

    def _tools(self) -> None:
        request = self._request
        tools = request.tools or ()
        if tools:
            self.body["tools"] = [{"functionDeclarations": declarations(tools, self.lost)}]
        if request.tool_choice is not None:
            config = choice(request.tool_choice, tools)
            if config is not None:
                self.body["toolConfig"] = {"functionCallingConfig": config}

    def _param(self, name: str, value: Any) -> None:
        if name in TUNING:
            member, needs = TUNING[name]
            if needs is not None and not getattr(self._family, needs):
                self.lost.add(name)
            else:
                self.generation[member] = value
        elif name in REFUSED:
            raise gw.UnsupportedParameterError(REFUSED[name], param=name)
        elif (write := getattr(self, f"_param_{name}", None)) is not None:
            write(value)
        else:
            self.lost.add(name)

    # --- parameters with a rule of their own, by canonical name -------------------------

    def _param_stop(self, value: list[str]) -> None:
        if len(value) > MAX_STOPS:
            raise gw.UnsupportedParameterError(
                f"This provider takes at most {MAX_STOPS} stop sequences.", param="stop"
            )
        if value:
            self.generation["stopSequences"] = value

    def _param_n(self, value: int) -> None:
        most = 1 if self._request.stream else self._family.candidates
        if value > most:
            raise gw.UnsupportedParameterError(
                f"This model gives at most {most} choice.", param="n"
            )
        if value > 1:
            self.generation["candidateCount"] = value

    def _param_seed(self, value: int) -> None:
        self.generation["seed"] = value if -(2**31) <= value < 2**31 else value % 2**31

    def _param_logprobs(self, value: Any) -> None:
        if value is False:
            return
        if not self._family.logprobs:
            raise gw.UnsupportedParameterError("This model gives no logprobs.", param="logprobs")
        self.generation["responseLogprobs"] = True

    def _param_top_logprobs(self, value: int) -> None:
        if self._request.params.get("logprobs") is True:
            self.generation["logprobs"] = value

    def _param_parallel_tool_calls(self, value: bool) -> None:
        if not value:
            self.lost.add("parallel_tool_calls")

    def _param_modalities(self, value: list[Any]) -> None:
        if value != ["text"]:
            raise gw.UnsupportedParameterError(
                "This provider answers in text; leave 'modalities' out.", param="modalities"
            )

    def _param_service_tier(self, value: str) -> None:
        if value not in TIERS:
            self.lost.add("service_tier")
        elif (tier := TIERS[value]) is not None:
            self.body["serviceTier"] = tier

    def _param_metadata(self, value: Mapping[str, Any]) -> None:
        fits = self._vertex and all(
            isinstance(each, str) and LABEL.fullmatch(each)
            for pair in value.items()
            for each in pair
        )
        if fits and value:
            self.body["labels"] = value
        elif value:
            self.lost.add("metadata")

    def _param_response_format(self, value: Mapping[str, Any]) -> None:
        kind = value["type"]
        if kind == "text":
            return
        if kind not in ("json_object", "json_schema"):
            raise gw.UnsupportedParameterError(
                f"This provider has no response format {kind[:40]!r}.",
                param="response_format.type",
            )
        if self._request.tools and self._family.generation < 3:
            raise gw.UnsupportedParameterError(
                f"Function calling with a JSON response is not supported by {self._request.model}.",
                param="response_format",
            )
        self.generation["responseMimeType"] = "application/json"
        if kind == "json_schema" and isinstance(schema := value["json_schema"].get("schema"), dict):
            lost: set[str] = set()
            where = "response_format.json_schema.schema"
            self.generation["responseJsonSchema"] = cleaned(schema, where, lost)
            self.lost |= {f"response_format.{each}" for each in lost}

    def _param_reasoning_effort(self, value: str) -> None:
        if value not in LEVELS:
            raise gw.UnsupportedParameterError(
                f"'reasoning_effort' must be one of {', '.join(LEVELS)}.", param="reasoning_effort"
            )
        family = self._family
        if not family.thinks:
            self.lost.add("reasoning_effort")
            return
        if "thinkingConfig" in self.generation:
            return  # `thinking` said it in a finer form
        config: dict[str, Any] = {}
        if family.budgets is not None:
            step = "xhigh" if value == "max" else value
            config["thinkingBudget"] = getattr(family.budgets, step)
        else:
            level = LEVELS[value]
            config["thinkingLevel"] = level if level in family.levels else "LOW"
        if value != "none":
            config["includeThoughts"] = True
        self.generation["thinkingConfig"] = config

    def _param_thinking(self, value: Mapping[str, Any]) -> None:
        """``{type, budget_tokens}``; tokens where the model counts them, else the nearest level."""
        family, tokens = self._family, value.get("budget_tokens")
        effort = self._request.params.get("reasoning_effort")
        if not family.thinks:
            self.lost.add("thinking")
        elif value.get("type") == "disabled":
            self._param_reasoning_effort("none")
        elif type(tokens) is int and family.budgets is not None:
            budget = max(family.budgets.none, min(tokens, family.budgets.xhigh))
            config = {"thinkingBudget": budget, "includeThoughts": True}
            self.generation["thinkingConfig"] = config
        elif type(tokens) is int and effort is None:
            near = "low" if tokens <= 1024 else "medium" if tokens <= 8192 else "high"
            self._param_reasoning_effort(near)
        elif effort is None:
            self.generation["thinkingConfig"] = {"includeThoughts": True}

    # --- members of no dialect ----------------------------------------------------------

    def _extra(self, name: str, value: Any) -> None:
        if name == "top_k":
            self._param(name, value)
            return
        if name == "extra_body" and isinstance(value, dict) and set(value) == {"google"}:
            name, value = "google", value["google"]
        if name != "google":
            self.lost.add(name)
            return
        if not isinstance(value, dict):
            raise gw.MalformedBodyError("'google' must be an object.", param="google")
        for key, each in value.items():
            self._extension(key, each)

    def _extension(self, key: str, value: Any) -> None:
        name = camel(key)
        place = EXTENSIONS.get(name)
        if place == "tools" and isinstance(value, list):
            self.body.setdefault("tools", []).extend(camelled(value))
        elif place == "body":
            self.body[name] = value if name == "labels" else camelled(value)
        elif place == "generation":
            self.generation[name] = camelled(value)
        else:
            raise gw.UnsupportedParameterError(
                f"'google' takes {', '.join(EXTENSIONS)}.", param=f"google.{key[:40]}"
            )


def camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(each[:1].upper() + each[1:] for each in rest)


def camelled(value: Any) -> Any:
    if isinstance(value, dict):
        return {camel(name): camelled(each) for name, each in value.items()}
    return [camelled(each) for each in value] if isinstance(value, list) else value
