"""What stands in place of personal data, and the way back.

A placeholder is ``[EMAIL_1]``: brackets are escaped neither in JSON nor in HTML, and models
repeat them faithfully. Numbers go by first appearance, so that a conversation that grows
keeps its beginning, and with it the provider's prompt cache.
"""

import msgspec
import re2

from llm_gateway_filter_pii.recognisers import KINDS, Finder, Kind
from llm_gateway_filter_pii.settings import Action

_PLACEHOLDER = re2.compile(r"\[(?:" + "|".join(kind.upper() for kind in KINDS) + r")_[0-9]+\]")
_STRING_OR_NUMBER = re2.compile(r'"(?:[^"\\]|\\.)*"|-?[0-9][0-9.eE+-]*')


class BlockedError(Exception):
    """Personal data of a `kind` that may not pass."""

    def __init__(self, kind: Kind) -> None:
        super().__init__(kind)
        self.kind = kind


class Vault:
    """The placeholders of one request. `taken` are those that its own text holds."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}
        self.taken: set[str] = set()
        self._placeholders: dict[tuple[Kind, str], str] = {}
        self._last: dict[Kind, int] = {}

    def placeholder(self, kind: Kind, value: str) -> str:
        known = self._placeholders.get((kind, value))
        if known is not None:
            return known
        while True:
            number = self._last[kind] = self._last.get(kind, 0) + 1
            fresh = f"[{kind.upper()}_{number}]"
            if fresh not in self.taken:
                break
        self._placeholders[kind, value] = fresh
        self.values[fresh] = value
        return fresh

    def restore(self, text: str, as_json: bool = False) -> str:
        """`text` with every placeholder exchanged for its value; `as_json`: escaped for the
        inside of a JSON string."""
        if not self.values or "[" not in text:
            return text
        out, at = [], 0
        for match in _PLACEHOLDER.finditer(text):
            value = self.values.get(match.group())
            if value is None:
                continue
            start, end = match.span()
            out += [text[at:start], _escaped(value) if as_json else value]
            at = end
        return "".join((*out, text[at:]))


class Masker:
    """Applies the actions to one request's texts and counts what it finds in `found`."""

    def __init__(self, finder: Finder, kinds: dict[Kind, Action], vault: Vault) -> None:
        self._finder = finder
        self._kinds = kinds
        self._vault = vault
        self.found: dict[Kind, int] = {}

    def text(self, text: str) -> str:
        """Raises `BlockedError` where the policy says so."""
        hits = self._finder.find(text) if len(text) > 5 or self._has_names(text) else ()
        out, at = [], 0
        for hit in hits:
            action = self._kinds[hit.kind]
            if action == "off":
                continue
            self.found[hit.kind] = self.found.get(hit.kind, 0) + 1
            if action == "block":
                raise BlockedError(hit.kind)
            value = text[hit.start : hit.end]
            instead = f"[{hit.kind.upper()}]"
            if action == "reversible":
                instead = self._vault.placeholder(hit.kind, value)
            out += [text[at : hit.start], instead]
            at = hit.end
        return "".join((*out, text[at:])) if out else text

    def json(self, text: str) -> str:
        """`text` is JSON that a model wrote: its strings and numbers one by one, so that all
        else keeps its bytes. What is no JSON is plain text."""
        try:
            msgspec.json.decode(text)
        except msgspec.DecodeError:
            return self.text(text)
        out, at = [], 0
        for match in _STRING_OR_NUMBER.finditer(text):
            token = match.group()
            value = msgspec.json.decode(token) if token[0] == '"' else token
            masked = self.text(value)
            if masked != value:
                out += [text[at : match.start()], msgspec.json.encode(masked).decode()]
                at = match.end()
        return "".join((*out, text[at:])) if out else text

    def _has_names(self, text: str) -> bool:
        return bool(text) and self._kinds["name"] != "off"


def literal_placeholders(text: str) -> set[str]:
    """What looks like a placeholder in a text that was not masked yet."""
    return {match.group() for match in _PLACEHOLDER.finditer(text)} if "[" in text else set()


def _escaped(value: str) -> str:
    return msgspec.json.encode(value).decode()[1:-1]
