"""Messages as ``systemInstruction`` and ``contents``.

There are two roles, ``user`` and ``model``; neighbours of one role are one content. The
results of a turn's calls stand together, in the order of the calls and before any text.
What was written for a conversation stays as it is when the conversation grows, so that
the vendor's cache of prefixes holds: only system messages before the first turn become
the instruction, later ones are user text in their place.
"""

from collections.abc import Iterable
from typing import Any

import llm_gateway_api as gw
import msgspec

from llm_gateway_provider_gemini import signatures
from llm_gateway_provider_gemini.media import Media
from llm_gateway_provider_gemini.models import Family
from llm_gateway_provider_gemini.tools import upstream_name

SYSTEM = ("system", "developer")


class Conversation:
    """Takes the messages of one request in their order."""

    def __init__(self, family: Family, media: Media, maker: str) -> None:
        self.lost = False  # whether signatures of other models were left out
        self._maker = maker
        self.system: list[dict[str, Any]] = []
        self.contents: list[dict[str, Any]] = []
        self._modern = family.generation >= 3
        self._media = media
        self._calls: list[gw.ToolCallPart] = []
        self._results: dict[int, gw.ToolResultPart] = {}
        self._late: list[dict[str, Any]] = []

    def take(self, messages: Iterable[gw.Message]) -> None:
        """Read all messages.

        Raises:
            ClientError: what the vendor would refuse, in words of the client's dialect.
        """
        for each in messages:
            if each.role in SYSTEM:
                self._system(each)
            elif each.role == "assistant":
                self._answered()
                self._model(each)
            else:
                self._user(each)
        if self._results or self._late:
            self._answered()
        if not self.contents:
            raise gw.ClientError(
                "A request needs a message that is no system message.", param="messages"
            )
        if self.contents[0]["role"] == "model":
            raise gw.ClientError(
                "This provider's conversations start with a user message.", param="messages"
            )

    def _system(self, message: gw.Message) -> None:
        for part in message.parts:
            if not isinstance(part, gw.TextPart):
                raise gw.UnsupportedParameterError(
                    "This provider takes only text in a system message.", param="messages"
                )
            row = {"text": part.text}
            if not part.text:
                continue
            if not self.contents:
                self.system.append(row)
            elif self._calls:
                self._late.append(row)  # results come right after their calls
            else:
                self._add("user", row)

    def _user(self, message: gw.Message) -> None:
        others: list[gw.Part] = []
        for part in message.parts:
            if isinstance(part, gw.ToolResultPart):
                self._result(part)
            else:
                others.append(part)
        if others:
            self._answered()
        for each in others:
            self._add("user", *self._part(each))

    def _result(self, part: gw.ToolResultPart) -> None:
        wanted = signatures.plain(part.call_id)
        for at, call in enumerate(self._calls):
            if at not in self._results and signatures.plain(call.id) == wanted:
                self._results[at] = part
                return
        raise gw.ClientError(
            f"The tool result for {wanted[:80]!r} answers no call of the turn before it.",
            param="messages",
        )

    def _answered(self) -> None:
        """The turn's calls are over: write their results."""
        for at, call in enumerate(self._calls):
            if at not in self._results:
                raise gw.ClientError(
                    f"The tool call {call.id[:80]!r} has no result; send one for each call.",
                    param="messages",
                )
        calls, results, late = self._calls, self._results, self._late
        self._calls, self._results, self._late = [], {}, []
        extra: list[dict[str, Any]] = []
        for at, call in enumerate(calls):
            self._add("user", self._response(call, results[at], extra))
        self._add("user", *extra, *late)

    def _response(
        self, call: gw.ToolCallPart, result: gw.ToolResultPart, extra: list[dict[str, Any]]
    ) -> dict[str, Any]:
        """One result; pictures that older models cannot take inside go to `extra`."""
        inner: dict[str, Any] = {}
        if self._modern:
            inner["id"] = signatures.plain(call.id)
        inner["name"] = upstream_name(call.name)
        texts = [each.text for each in result.parts if isinstance(each, gw.TextPart)]
        key = "error" if result.is_error else "output"
        inner["response"] = {key: _value("".join(texts))}
        others = [each for each in result.parts if not isinstance(each, gw.TextPart)]
        blobs = [row for each in others for row in self._part(each)]
        if blobs and self._modern:
            inner["parts"] = blobs
        else:
            extra += blobs
        return {"functionResponse": inner}

    def _model(self, message: gw.Message) -> None:
        signature = self._beside(message.extra)
        rows: list[dict[str, Any]] = []
        calls: list[gw.ToolCallPart] = []
        for part in message.parts:
            if isinstance(part, gw.ToolCallPart):
                calls.append(part)
            elif not isinstance(part, gw.ReasoningPart):  # summaries are not sent back
                rows += self._part(part)
        if signature is not None:
            texts = [row for row in rows if "text" in row]
            if not texts:
                texts.append({"text": ""})
                rows += texts
            texts[-1]["thoughtSignature"] = signature
        self._calls = calls
        for at, call in enumerate(calls):
            rows.append(self._call(call, first=at == 0))
        self._add("model", *rows)

    def _call(self, call: gw.ToolCallPart, *, first: bool) -> dict[str, Any]:
        inner: dict[str, Any] = {"id": signatures.plain(call.id)} if self._modern else {}
        inner["name"] = upstream_name(call.name)
        inner["args"] = _arguments(call.arguments)
        row: dict[str, Any] = {"functionCall": inner}
        signature = self._beside(call.extra) or signatures.inside(call.id, self._maker)
        if signature is None and signatures.MARK in call.id:
            self.lost = True
        if signature is None and first and self._modern:
            signature = signatures.SENTINEL
        if signature is not None:
            row["thoughtSignature"] = signature
        return row

    def _beside(self, extra: gw.Params) -> str | None:
        found = signatures.beside(extra, self._maker)
        if found is None and signatures.elsewhere(extra, self._maker):
            self.lost = True
        return found

    def _part(self, part: gw.Part) -> list[dict[str, Any]]:
        if isinstance(part, (gw.TextPart, gw.RefusalPart)):
            return [{"text": part.text}] if part.text else []
        if isinstance(part, gw.ImagePart):
            return [self._media.image(part)]
        if isinstance(part, gw.AudioPart):
            return [self._media.audio(part)]
        if isinstance(part, gw.FilePart):
            return [self._media.file(part)]
        kind = type(part).__name__
        if isinstance(part, gw.UnknownPart):
            video = part.raw.get("video_url")
            if isinstance(video, dict) and isinstance(video.get("url"), str):
                return [self._media.video(video["url"])]
            kind = str(part.raw.get("type"))[:40]
        raise gw.UnsupportedParameterError(
            f"This provider cannot take a part of the kind {kind!r}.", param="messages"
        )

    def _add(self, role: str, *rows: dict[str, Any]) -> None:
        if not rows:
            return
        if self.contents and self.contents[-1]["role"] == role:
            self.contents[-1]["parts"] += rows
        else:
            self.contents.append({"role": role, "parts": list(rows)})


def _arguments(text: str) -> object:
    """The call's arguments, byte for byte where they are the object that they must be."""
    found = _decoded(text)
    if isinstance(found, dict):
        return msgspec.Raw(text.encode())
    return {"input": text} if text.strip() else {}


def _value(text: str) -> object:
    """A result: JSON that is more than a string stays JSON.

    An object with ``$ref`` is read by the vendor as a pointer to a part, so it goes as text.
    """
    found = _decoded(text)
    if found is None or isinstance(found, str) or _points(found):
        return text
    return msgspec.Raw(text.strip().encode())


def _decoded(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        return None


def _points(value: Any) -> bool:
    pending = [value]
    while pending:
        each = pending.pop()
        if isinstance(each, dict):
            if isinstance(each.get("$ref"), str) and each["$ref"]:
                return True
            pending += each.values()
        elif isinstance(each, list):
            pending += each
    return False
