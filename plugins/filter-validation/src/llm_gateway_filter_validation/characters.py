r"""Characters that nobody sees: found and taken out of JSON without decoding it.

In JSON they stand as they are (UTF-8) or escaped (``\u0000``, ``\b``), and only inside strings.
Escapes are read pairwise, so that ``\\u0000``, a backslash and five characters, is left alone.

Not counted as invisible, because scripts and emoji need them: the joiners U+200C and U+200D, the
marks U+200E and U+200F, and variation selectors 1 to 16.
"""

import re
from collections.abc import Iterator
from typing import Any, Literal, TypeAlias

Kind: TypeAlias = Literal["control", "invisible"]

# As classes of a regular expression. Tab, line feed and carriage return are text.
_TEXT = {
    "control": "\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f",
    "invisible": (
        "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b\u2028-\u202e"
        "\u2060-\u206f\u3164\ufeff\uffa0\ufff0-\ufffb\U000e0000-\U000e0fff"
    ),
}
# The same as they are escaped, in lower case.
_ESCAPED = {
    "control": r"u00(?:0[0-8bcef]|1[0-9a-f]|7f|[89][0-9a-f])|[bf]",
    "invisible": (
        r"u(?:00ad|034f|061c|115f|1160|17b[45]|180[b-f]|200b|202[89a-e]|206[0-9a-f]|3164|feff|ffa0"
        r"|fff[0-9ab]|db4[0-3]\\ud[c-f][0-9a-f]{2})"
    ),
}
# Emoji flags of regions are spelled in tags after U+1F3F4 and end with U+E007F.
_FLAG = "\U0001f3f4[\U000e0030-\U000e0039\U000e0061-\U000e007a]{1,6}\U000e007f"
_FLAG_ESCAPED = r"\\ud83c\\udff4(?:\\udb40\\udc[3-7][0-9a-f]){1,7}"


# The bytes with which they begin in UTF-8; a single byte is searched for fastest.
_LEADS = {
    "control": (b"\x7f", b"\xc2"),
    "invisible": (b"\xc2", b"\xcd", b"\xd8", b"\xe1", b"\xe2", b"\xe3", b"\xef", b"\xf3"),
}
_ASCII = (b"\x7f",)
_SIGNS = (b"\\u", b"\\b", b"\\f")


class Characters:
    """Finds the characters of `kinds`, and takes them out."""

    def __init__(self, kinds: frozenset[Kind]) -> None:
        chosen = sorted(kinds)
        text = "".join(_TEXT[each] for each in chosen)
        escaped = "|".join(_ESCAPED[each] for each in chosen)
        self._text = re.compile(f"{_FLAG}|([{text}])" if "invisible" in kinds else f"([{text}])")
        flag = f"{_FLAG_ESCAPED}|{_FLAG}" if "invisible" in kinds else "(?!)"
        # One of: a flag, an escape that goes, any other escape, a character that goes.
        self._json = re.compile(rf"{flag}|(\\(?:{escaped}))|\\.|([{text}])", re.I | re.S)
        self._plain = re.compile(f"[{text}]")
        self._leads = tuple(lead for each in chosen for lead in _LEADS[each])
        self._escapes = re.compile(rf"\\(?:{escaped})".encode(), re.I)

    def maybe_in(self, body: bytes) -> bool:
        """False where there are none for sure; most bodies are settled by a few searches."""
        if b"\\" in body and any(each in body for each in _SIGNS) and self._escapes.search(body):
            return True
        if not any(each in body for each in (_ASCII if body.isascii() else self._leads)):
            return False
        return self._plain.search(body.decode("utf-8", "replace")) is not None

    def in_text(self, text: str) -> bool:
        return any(match[1] is not None for match in self._text.finditer(text))

    def cleaned(self, json: str) -> str:
        """JSON without them, otherwise as it was."""
        return self._json.sub(_kept, json)

    def found(self, value: Any, path: str = "") -> Iterator[tuple[str, bool]]:
        """Where they are in decoded JSON, with whether it is the name of a member."""
        if isinstance(value, str):
            if self.in_text(value):
                yield path, False
        elif isinstance(value, dict):
            for name, each in value.items():
                if self.in_text(name):
                    yield path or "body", True
                yield from self.found(each, f"{path}.{name}" if path else name)
        elif isinstance(value, list):
            for at, each in enumerate(value):
                yield from self.found(each, f"{path}[{at}]")


def _kept(match: "re.Match[str]") -> str:
    return "" if match[1] is not None or match[2] is not None else match[0]
