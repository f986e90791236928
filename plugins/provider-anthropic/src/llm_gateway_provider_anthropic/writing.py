"""A canonical request as the body of a message: every parameter mapped, dropped or refused."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import llm_gateway_api as gw
import msgspec

from llm_gateway_provider_anthropic import schema, thinking
from llm_gateway_provider_anthropic.blocks import MARKS
from llm_gateway_provider_anthropic.decoding import DIALECT
from llm_gateway_provider_anthropic.profiles import Profile, profile
from llm_gateway_provider_anthropic.thinking import Thinking
from llm_gateway_provider_anthropic.tools import MARKS as TOOL_MARKS
from llm_gateway_provider_anthropic.tools import choice, tools
from llm_gateway_provider_anthropic.turns import replays_thought, system, turns

UNKNOWN_MAX_TOKENS = 4096
# Above this the vendor asks for a stream: 3,600 s * tokens / 128,000 is over ten minutes.
MAX_UNSTREAMED = 21_333
NO_SAMPLING = "2026-10-21"
JSON_ONLY = "Answer with one JSON object and nothing else: no words around it, no code fence."
TIERS = {
    "auto": "auto",
    "priority": "auto",
    "default": "standard_only",
    "standard": "standard_only",
    "standard_only": "standard_only",
}
SAMPLING = ("temperature", "top_p", "top_k")
USERS = ("safety_identifier", "user")  # who asks; the first that is there counts
MAPPED = frozenset(
    {
        "max_tokens", "stop", "response_format", "reasoning_effort", "thinking", "service_tier",
        "cache_control", "parallel_tool_calls", "user", "safety_identifier", *SAMPLING,
    }
)  # fmt: skip
# Members that are nobody's canonical parameter and that this vendor knows.
OWN = frozenset({"thinking", "top_k", "cache_control"})
REFUSED: Mapping[str, tuple[object, ...]] = {
    "n": (None, 1),
    "logprobs": (None, False),
    "top_logprobs": (None, 0),
    "audio": (None,),
    "web_search_options": (None,),
    "modalities": (None, ["text"]),
}
HARMLESS: Mapping[str, tuple[object, ...]] = {
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "logit_bias": ({},),
    "store": (False,),
    "metadata": ({},),
}


@dataclass(frozen=True, slots=True)
class Options:
    """What the settings say of every request."""

    version: str
    default_max_tokens: int | None = None
    send_user: bool = False
    downgrade_tool_choice: bool = False


class Written(msgspec.Struct, frozen=True):
    """`stream` says that the answer comes as a stream, whatever the client asked for."""

    body: dict[str, Any]
    stream: bool
    dropped: tuple[str, ...]


class Writer:
    """One request on its way into a body."""

    def __init__(self, request: gw.ChatRequest, options: Options) -> None:
        self.request = request
        self.options = options
        self.native = request.dialect == DIALECT
        self.takes: Profile = profile(request.model)
        self.dropped: list[str] = []
        self.params: Mapping[str, Any] = request.params
        if not OWN.isdisjoint(request.extra):
            own = {name: value for name, value in request.extra.items() if name in OWN}
            self.params = own | dict(request.params)
        self.body: dict[str, Any] = {"model": request.model}

    def message(self) -> Written:
        self._refuse()
        conversation = self._conversation()
        thought = self._thinking(conversation)
        tokens = self._max_tokens(thought)
        self.body["max_tokens"] = tokens
        stream = self.request.stream or tokens > MAX_UNSTREAMED
        if stream:
            self.body["stream"] = True
        self._sampling(thought)
        self._rest()
        return self._done(conversation, stream)

    def count(self) -> Written:
        """The same without what only an answer needs."""
        self._refuse()
        conversation = self._conversation()
        self._thinking(conversation)
        return self._done(conversation, False)

    def _done(self, conversation: list[dict[str, Any]], stream: bool) -> Written:
        if self.native:
            self.body = {**self.request.extra, **self.body}
        elif isinstance(own := self.request.extra.get("anthropic"), dict):
            self.body |= own
        # Last, so that a further turn of a conversation extends the bytes of this one.
        self.body["messages"] = conversation
        return Written(self.body, stream, tuple(dict.fromkeys(self.dropped)))

    # --- content -----------------------------------------------------------------------

    def _conversation(self) -> list[dict[str, Any]]:
        request = self.request
        blocks, count = system(request.messages, request.dialect)
        made = turns(request.messages[count:], self.takes, request.dialect)
        self._format(blocks)
        if blocks:
            self.body["system"] = blocks
        given, dropped = tools(request, self.takes)
        self.dropped += dropped
        if given is not None:
            self.body["tools"] = given
        forced = choice(request, self.takes, self.options.downgrade_tool_choice)
        if forced is not None and given:
            self.body["tool_choice"] = forced
        self.dropped += self._unnamed()
        thoughts = [
            part
            for message in request.messages
            for part in message.parts
            if isinstance(part, gw.ReasoningPart)
        ]
        for each in thoughts:
            self.dropped += [f"messages.{name}" for name in gw.beside(each.extra)]
        if any(each.state and DIALECT not in each.state for each in thoughts):
            self.dropped.append("reasoning")
        return made

    def _unnamed(self) -> list[str]:
        if not self.native:
            return gw.unnamed(self.request, parts=MARKS, tools=TOOL_MARKS)
        chosen = gw.ALL_NAMES if "tool_choice" in self.body else ()
        return gw.unnamed(self.request, (), gw.ALL_NAMES, gw.ALL_NAMES, chosen)

    def _format(self, blocks: list[dict[str, Any]]) -> None:
        given = self.params.get("response_format")
        if not isinstance(given, dict) or given.get("type") == "text":
            return
        if given.get("type") == "json_object":
            blocks.append({"type": "text", "text": JSON_ONLY})
            return
        inner = given.get("json_schema")
        wanted = inner.get("schema") if isinstance(inner, dict) else None
        if given.get("type") != "json_schema" or not isinstance(wanted, dict):
            raise self._unsupported("response_format", "this response_format")
        if not self.takes.structured:
            raise self._unsupported("response_format", "structured output")
        made = wanted if self.native else schema.accepted(wanted)
        self._output("format", {"type": "json_schema", "schema": made})

    # --- parameters --------------------------------------------------------------------

    def _refuse(self) -> None:
        for name, value in self.params.items():
            if value not in REFUSED.get(name, (value,)):
                raise self._unsupported(name, f"{name}={value!r}"[:100])
            known = name in MAPPED or name in REFUSED or value is None
            if not known and value not in HARMLESS.get(name, ()):
                self.dropped.append(name)
        if not self.native and self.request.extra:
            kept = (*OWN, "anthropic")
            self.dropped += [name for name in self.request.extra if name not in kept]

    def _unsupported(self, name: str, what: str) -> gw.UnsupportedParameterError:
        return gw.UnsupportedParameterError(
            f"{self.request.model} does not support {what}; leave it out.", param=name
        )

    def _max_tokens(self, thought: Thinking) -> int:
        given, limit = self.params.get("max_tokens"), self.takes.max_output
        if given is None:
            given = self.options.default_max_tokens or limit or UNKNOWN_MAX_TOKENS
            if not self.request.stream:
                given = min(given, MAX_UNSTREAMED)
        tokens = int(given)
        if thought.budget >= tokens:
            tokens += thought.budget
        return min(tokens, limit) if limit else tokens

    def _thinking(self, conversation: list[dict[str, Any]]) -> Thinking:
        found = thinking.asked(self.params, self.takes)
        if thinking.unsupported(self.params, self.takes):
            self.dropped.append("reasoning_effort")
        if found.budget and not found.chosen and self._cannot_think(conversation):
            self.dropped.append("reasoning_effort")
            found = msgspec.structs.replace(found, config=None)
        if found.config is not None:
            self.body["thinking"] = found.config
        if found.effort is not None:
            self._output("effort", found.effort)
        return found

    def _cannot_think(self, conversation: list[dict[str, Any]]) -> bool:
        """Manual thinking goes neither with a forced tool nor with calls shown bare."""
        forced = self.body.get("tool_choice", {}).get("type") in ("any", "tool")
        return forced or not replays_thought(conversation)

    def _output(self, name: str, value: object) -> None:
        self.body.setdefault("output_config", {})[name] = value

    def _sampling(self, thought: Thinking) -> None:
        given = {name: self.params[name] for name in SAMPLING if self.params.get(name) is not None}
        takes = self.takes.sampling and self.options.version != NO_SAMPLING
        if thought.budget:
            takes = takes and "top_p" in given and given["top_p"] >= 0.95
            self._drop_sampling(given, ("temperature", "top_k"))
        if not takes:
            self._drop_sampling(given, SAMPLING)
        if "temperature" in given:
            self._drop_sampling(given, ("top_p",))
            given["temperature"] = min(given["temperature"], 1.0)
        self.body |= given

    def _drop_sampling(self, given: dict[str, Any], names: tuple[str, ...]) -> None:
        """Take `names` out of `given`; one that is the vendor's default is no loss."""
        for name in names:
            if (value := given.pop(name, None)) is not None and value != 1:
                self.dropped.append(name)

    def _rest(self) -> None:
        if stops := [each for each in self.params.get("stop") or () if each.strip()]:
            self.body["stop_sequences"] = stops
        if (tier := self.params.get("service_tier")) is not None:
            if tier in TIERS:
                self.body["service_tier"] = TIERS[tier]
            else:
                self.dropped.append("service_tier")
        if (mark := self.params.get("cache_control")) is not None:
            self.body["cache_control"] = mark
        self._user()

    def _user(self) -> None:
        for name in USERS:
            user = self.params.get(name)
            if not isinstance(user, str):
                continue
            if self.native:
                self.body["metadata"] = {"user_id": user}
            elif self.options.send_user:
                self.body["metadata"] = {"user_id": hashlib.sha256(user.encode()).hexdigest()}
            else:
                self.dropped.append(name)
                continue
            return
