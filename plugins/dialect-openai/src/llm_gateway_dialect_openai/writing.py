"""A canonical request as a Chat Completions body (OpenAI's API reference, chat/create).

What has no place there is reported in `Writer.dropped`, or refused where leaving it out
would change the meaning.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import llm_gateway_api as gw

from llm_gateway_dialect_openai.bridge import DIALECT as RESPONSES
from llm_gateway_dialect_openai.parameters import Rules
from llm_gateway_dialect_openai.quirks import Quirks
from llm_gateway_dialect_openai.tools import choice, tool, tools_of

DIALECT = "openai.chat"
STATE = "openai.chat"  # the key of this dialect's reasoning_details in an opaque state

FORMED = frozenset({"response_format", "reasoning_effort"})
BESIDE = frozenset({gw.ToolCallPart, gw.ReasoningPart, gw.AudioPart})  # not in a turn's content


class Writer:
    """Writes one request. `dropped` names what was left out, in the order of its meeting."""

    def __init__(self, quirks: Quirks, rules: Rules, dialect: str) -> None:
        self._quirks = quirks
        self._rules = rules
        self._own = dialect.startswith("openai.") and dialect != RESPONSES
        self._dropped: dict[str, None] = {}

    @property
    def dropped(self) -> tuple[str, ...]:
        return tuple(self._dropped)

    def chat(self, request: gw.ChatRequest) -> dict[str, Any]:
        quirks = self._quirks
        body: dict[str, Any] = {"model": request.model, "messages": self.messages(request.messages)}
        params, dropped = self._rules.applied(request.model, request.params)
        self._drop(dropped)
        body |= params if FORMED.isdisjoint(params) else asked(params, quirks)
        if request.tools is not None:
            tools = tools_of(request.tools, request.tool_choice, quirks)
            body["tools"] = [self._tool(each) for each in tools]
            if quirks.strip_strict and any(each.strict is not None for each in tools):
                self._drop(["tools.strict"])
        if request.tool_choice is not None:
            body["tool_choice"] = self._choice(request.tool_choice)
        if request.stream:
            body["stream"] = True
            options = dict(body.pop("stream_options", None) or {})
            if quirks.stream_usage:
                options["include_usage"] = True
            if options:
                body["stream_options"] = options
        return {**body, **self._extra(request.extra)} if request.extra else body

    def _tool(self, each: gw.Tool) -> dict[str, Any]:
        made = tool(each, self._quirks)
        return made if each.kind == "custom" else self._with(made, each.extra)

    def _choice(self, given: gw.ToolChoice) -> object:
        made = choice(given, self._quirks)
        if isinstance(made, dict):
            return self._with(made, given.extra)
        self._drop(gw.beside(given.extra))  # a word has no members
        return made

    def messages(self, given: Iterable[gw.Message]) -> list[dict[str, Any]]:
        """Pictures in a tool's result follow all results in a user's turn: a tool's
        message holds text alone."""
        rows: list[dict[str, Any]] = []
        pictures: list[Mapping[str, Any]] = []
        for each in given:
            if each.role == "tool":
                rows += [row for part in each.parts for row in self._result(part, each, pictures)]
                continue
            if pictures:
                rows.append({"role": "user", "content": pictures})
                pictures = []
            rows.append(self._message(each))
        if pictures:
            rows.append({"role": "user", "content": pictures})
        return rows

    def _result(
        self, part: gw.Part, message: gw.Message, pictures: list[Mapping[str, Any]]
    ) -> list[dict[str, Any]]:
        if not isinstance(part, gw.ToolResultPart):
            raise gw.UnsupportedParameterError(
                f"A tool's turn cannot hold {_kind(part)}.", param="messages"
            )
        shown = [each for each in part.parts if not isinstance(each, gw.TextPart)]
        pictures += [self._part(each) for each in shown]
        texts = tuple(each for each in part.parts if isinstance(each, gw.TextPart))
        if part.is_error:
            self._drop(["is_error"])
        plain = message.text_only or len(texts) < 2
        row = {"role": "tool", "tool_call_id": part.call_id, "content": self._content(texts, plain)}
        return [self._with(self._with(row, message.extra), part.extra)]

    def _message(self, each: gw.Message) -> dict[str, Any]:
        role = each.role
        if role == "developer" and self._quirks.developer_role == "system":
            role = "system"
        row: dict[str, Any] = {"role": role, "content": ""}
        content = each.parts
        if not BESIDE.isdisjoint(map(type, content)):
            content = self._beside(content, row)
        if content:
            row["content"] = self._content(content, each.text_only)
        elif "tool_calls" in row or "audio" in row:
            row["content"] = None
        if each.name is not None:
            row["name"] = each.name
        return self._with(row, each.extra) if each.extra else row

    def _beside(self, parts: tuple[gw.Part, ...], row: dict[str, Any]) -> tuple[gw.Part, ...]:
        """Put what a turn holds besides its content into `row`; the content is returned."""
        content: list[gw.Part] = []
        for part in parts:
            if isinstance(part, gw.ToolCallPart):
                row.setdefault("tool_calls", []).append(self._call(part))
            elif isinstance(part, gw.ReasoningPart):
                self._reasoning(part, row)
                self._drop(gw.beside(part.extra))
            elif isinstance(part, gw.AudioPart) and part.id is not None:
                row["audio"] = {"id": part.id}
                self._with(row, part.extra)
            else:
                content.append(part)
        return tuple(content)

    def _reasoning(self, part: gw.ReasoningPart, row: dict[str, Any]) -> None:
        field = self._quirks.reasoning_out
        if field == "reasoning_details":
            details = part.state.get(STATE)
            if isinstance(details, list):
                row.setdefault(field, []).extend(details)
                return
        elif field != "drop":
            row[field] = row.get(field, "") + part.text
            return
        self._drop(["reasoning"])

    def _call(self, each: gw.ToolCallPart) -> dict[str, Any]:
        key = "input" if each.kind == "custom" else "arguments"
        inner = {"name": each.name, key: each.arguments}
        return self._with({"id": each.id, "type": each.kind, each.kind: inner}, each.extra)

    def _content(self, parts: tuple[gw.Part, ...], plain: bool) -> object:
        if plain or self._quirks.flatten_text_parts:
            if len(parts) == 1 and type(parts[0]) is gw.TextPart and not parts[0].extra:
                return parts[0].text
            texts = [part for part in parts if isinstance(part, gw.TextPart)]
            if len(texts) == len(parts):
                for part in texts:
                    self._drop(part.extra)
                return "\n".join([part.text for part in texts])
        return [self._part(each) for each in parts]

    def _part(self, each: gw.Part) -> Mapping[str, Any]:
        if isinstance(each, gw.TextPart):
            return self._with({"type": "text", "text": each.text}, each.extra)
        if isinstance(each, gw.RefusalPart):
            return self._with({"type": "refusal", "refusal": each.text}, each.extra)
        if isinstance(each, gw.ImagePart):
            keep = each.detail and self._quirks.image_detail == "keep"
            url = each.url or f"data:{each.media_type};base64,{each.data}"
            inner = {"url": url, **({"detail": each.detail} if keep else {})}
            return self._with({"type": "image_url", "image_url": inner}, each.extra)
        if isinstance(each, gw.AudioPart) and each.data is not None:
            audio = {"data": each.data, "format": each.format}
            return self._with({"type": "input_audio", "input_audio": audio}, each.extra)
        if isinstance(each, gw.FilePart) and each.url is None:
            return self._with({"type": "file", "file": _file(each)}, each.extra)
        if isinstance(each, gw.UnknownPart) and each.dialect == DIALECT:
            return each.raw
        raise gw.UnsupportedParameterError(
            f"This provider cannot take {_kind(each)} here.", param="messages"
        )

    def _extra(self, extra: gw.Params) -> gw.Params:
        """Members that no table names survive within the dialect; elsewhere they are told."""
        if self._own and self._quirks.keep_unknown:
            return extra
        self._drop(extra)
        return {}

    def _with(self, row: dict[str, Any], extra: gw.Params) -> dict[str, Any]:
        """`row` with what stood beside its members, or within one of them."""
        if not extra:
            return row
        if self._own and self._quirks.keep_unknown:
            return gw.joined(row, extra)
        self._drop(gw.beside(extra))
        return row

    def _drop(self, names: Collection[str]) -> None:
        if names:
            self._dropped |= dict.fromkeys(names)


def asked(params: dict[str, Any], quirks: Quirks) -> dict[str, Any]:
    """Reasoning and structured output in the form the server knows."""
    if isinstance(form := params.get("response_format"), dict):
        params["response_format"] = _formed(form, quirks)
    effort = params.get("reasoning_effort")
    if isinstance(effort, str):
        effort = params["reasoning_effort"] = quirks.reasoning_efforts.get(effort, effort)
        if quirks.reasoning_param == "reasoning":
            params["reasoning"] = {"effort": params.pop("reasoning_effort")}
        elif quirks.reasoning_param == "thinking":
            params["thinking"] = {"type": "disabled" if effort == "none" else "enabled"}
            if effort == "none":
                del params["reasoning_effort"]
    return params


def _formed(form: dict[str, Any], quirks: Quirks) -> dict[str, Any]:
    kind = form.get("type")
    if kind not in ("json_object", "json_schema") or kind in quirks.response_formats:
        return form
    if kind == "json_object" and quirks.response_formats:
        schema = {"name": "answer", "schema": {"type": "object"}}
        return {"type": "json_schema", "json_schema": schema}
    known = " or ".join(("text", *quirks.response_formats))
    raise gw.UnsupportedParameterError(
        f"The model chosen has no response_format {kind!r}; use {known}.", param="response_format"
    )


def _file(each: gw.FilePart) -> dict[str, Any]:
    data = each.data
    if data is not None and each.media_type is not None:
        data = f"data:{each.media_type};base64,{data}"
    given = {"file_id": each.file_id, "filename": each.filename, "file_data": data}
    return {name: value for name, value in given.items() if value is not None}


def _kind(part: gw.Part) -> str:
    kind: object = type(part).__name__.removesuffix("Part").lower()
    if isinstance(part, gw.UnknownPart):
        kind = part.raw.get("type", kind)
    return f"a part of the kind {kind!r}"
