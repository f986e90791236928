"""Which rules a text breaks. RE2: time linear in the text, whatever the expressions."""

import unicodedata
from collections.abc import Iterator, Sequence
from typing import Any

import re2

from llm_gateway_filter_guardrail.settings import Rule, options

_ESCAPE = re2.compile(r'\\(u[0-9a-fA-F]{4}|["\\/bfnrt])')
_PLAIN = {"b": " ", "f": " ", "n": "\n", "r": "\r", "t": "\t"}


class Rules:
    """Some rules; a set of all their expressions tells in one pass which occur."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._set = re2.Set.SearchSet(options())
        self._each: list[tuple[Rule, Any]] = []
        for rule in rules:
            for pattern in (*rule.patterns, *_denied(rule)):
                self._set.Add(pattern)
                self._each.append((rule, re2.compile(pattern, options())))
        self._set.Compile()

    def broken(self, text: str) -> list[Rule]:
        """The rules that `text` breaks, each once, in their order."""
        return _once(self._each[at][0] for at in self._matched(normal(text)))

    def broken_so_far(self, text: str, window: int) -> list[Rule]:
        """Those that more text cannot mend: what ends where the text ends may go on (`bomb`
        in `bombast`), but for what is as long as the window already. Both are of one form,
        `text` normal."""
        return _once(
            self._each[at][0]
            for at in self._matched(text)
            if any(
                end < len(text) or end - start >= window
                for start, end in (match.span() for match in self._each[at][1].finditer(text))
            )
        )

    def _matched(self, text: str) -> list[int]:
        return sorted(self._set.Match(text) or ()) if self._each else []


def normal(text: str) -> str:
    """Compatibility forms (full width, ligatures) as their plain letters."""
    return text if text.isascii() else unicodedata.normalize("NFKC", text)


def unescaped(text: str) -> str:
    """The characters that a piece of JSON stands for, quotes and braces as they are."""
    if "\\" not in text:
        return text
    found: str = _ESCAPE.sub(_character, text)
    return found


def _character(match: Any) -> str:
    escape: str = match.group(1)
    if len(escape) > 1:
        character = chr(int(escape[1:], 16))
        return character if character.isprintable() else " "
    return _PLAIN.get(escape, escape)


def _denied(rule: Rule) -> list[str]:
    """One expression for all words: no letter or digit goes on before or after them."""
    if not rule.deny:
        return []
    words = sorted({normal(each.strip()) for each in rule.deny}, key=len, reverse=True)
    either = "|".join(r"\s+".join(map(re2.escape, each.split())) for each in words)
    return [rf"(?i)(?:^|[^\pL\pN])(?:{either})(?:[^\pL\pN]|$)"]


def _once(rules: Iterator[Rule]) -> list[Rule]:
    return list({rule.name: rule for rule in rules}.values())
