"""Where personal data stands in a text: patterns on RE2, check digits, words nearby.

One pass of a set of all patterns tells which of them occur at all; only those are looked
for one by one. RE2's time is linear in the text, whatever stands in it.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import Any, Literal, TypeAlias, get_args

import re2

from llm_gateway_filter_pii.national import NATIONAL_IDS, NationalId
from llm_gateway_filter_pii.numbers import IBAN_LENGTHS, iban, luhn

Kind: TypeAlias = Literal["email", "phone", "card", "iban", "national_id", "ip", "name"]
KINDS: tuple[Kind, ...] = get_args(Kind)
Span: TypeAlias = tuple[int, int]
# Narrows a candidate to what is meant, or refuses it.
Check: TypeAlias = Callable[[str, int, int], Span | None]

NEAR_BEFORE, NEAR_AFTER = 48, 24
FILE_ENDINGS = frozenset(
    ("css", "gif", "gz", "jpeg", "jpg", "js", "lock", "map",
     "png", "svg", "tgz", "ts", "webp", "whl")
)  # fmt: skip
# Addresses of machines that are nobody's: loopback, private, link-local, multicast, reserved.
NOBODY = tuple(
    (int(each.network_address), int(each.broadcast_address), each.version)
    for each in map(
        ip_network,
        (
            "0.0.0.0/8", "10.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
            "192.168.0.0/16", "224.0.0.0/3", "::/127", "fe80::/10", "fc00::/7", "ff00::/8",
        ),
    )
)  # fmt: skip
PHONE_WORDS = (
    r"tel|telephone|phone|call|called|mobile|cell|fax|whatsapp|sms|ring|dial|reach|"
    r"telefon|telefonnummer|handy|anrufen|rufnummer|tél|téléphone|appelez|portable|"
    r"teléfono|telefono|móvil|llame|cellulare|telefone|celular|telefoon|bel|puhelin|numer"
)
CARD_GROUPS = frozenset({(4, 4, 4, 4), (4, 6, 5), (4, 6, 4), (4, 4, 4, 4, 3)})


@dataclass(frozen=True, slots=True)
class Hit:
    """Characters `start` to `end` are personal data of `kind`."""

    start: int
    end: int
    kind: Kind


@dataclass(frozen=True, slots=True)
class Recogniser:
    """`words` is an expression for what must stand near a candidate; empty needs nothing."""

    kind: Kind
    pattern: str
    check: Check
    words: str = ""


def recognisers(
    names: Iterable[str] = (), countries: Iterable[str] | None = None
) -> list[Recogniser]:
    """All of them, what is surest first; `countries` None means the ids of all."""
    wanted = None if countries is None else frozenset(countries)
    chosen = [each for each in NATIONAL_IDS if wanted is None or each.country in wanted]
    found = [
        Recogniser("email", EMAIL, _email),
        Recogniser("iban", r"(?i)\b[A-Z]{2}\d{2}[ -]?[A-Z0-9]{2}", _iban),
        Recogniser("card", r"\b[2-6]\d{3}(?:[ -]?\d){9,15}\b", _card),
        *(Recogniser("national_id", each.pattern, _national(each), each.words) for each in chosen),
        Recogniser("ip", r"\b\d{1,3}(?:\.\d{1,3}){3}\b", _ip),
        Recogniser("ip", r"[0-9A-Fa-f]{0,4}:[0-9A-Fa-f:]*:[0-9A-Fa-f:.]*", _ipv6),
        Recogniser("phone", r"\+[1-9][\d ().\-/]{6}[\d ().\-/]*\b", _phone),
        Recogniser("phone", NORTH_AMERICAN, _phone),
        Recogniser("phone", r"\(?\b\d[\d ().\-/]{5}[\d ().\-/]*\b", _phone, PHONE_WORDS),
    ]
    listed = sorted({each.strip() for each in names if each.strip()}, key=len, reverse=True)
    if listed:
        pattern = "(?i)(?:" + "|".join(map(re2.escape, listed)) + ")"
        found.append(Recogniser("name", pattern, _whole))
    return found


class Finder:
    """Finds what `chosen` recognise; safe to use on any thread."""

    def __init__(self, chosen: Sequence[Recogniser]) -> None:
        options = re2.Options()
        options.log_errors = False
        options.max_mem = 64 << 20
        self._set = re2.Set.SearchSet(options)
        self._each = [(each, re2.compile(each.pattern, options)) for each in chosen]
        for each in chosen:
            self._set.Add(each.pattern)
        # Behind the patterns, in the same set: what must stand near some of them.
        nearby = [(at, _word(each.words)) for at, each in enumerate(chosen) if each.words]
        self._words = {
            at: (len(chosen) + number, re2.compile(pattern, options))
            for number, (at, pattern) in enumerate(nearby)
        }
        for _, pattern in nearby:
            self._set.Add(pattern)
        self._set.Compile()

    def find(self, text: str) -> list[Hit]:
        """What is there, in its order and without overlaps; the surer recogniser wins."""
        hits: list[tuple[int, int, int]] = []
        there = frozenset(self._set.Match(text) or ())
        for at in there:
            if at >= len(self._each):
                continue
            recogniser, pattern = self._each[at]
            gate, words = self._words.get(at, (at, None))
            if gate not in there:
                continue
            for match in pattern.finditer(text):
                span = recogniser.check(text, *match.span())
                if span is None or not _apart(text, *span):
                    continue
                if words is None or _near(words, text, *span):
                    hits.append((*span, at))
        if not hits:
            return []
        hits.sort(key=lambda each: (each[0], each[2]))
        kept = hits[:1]
        for hit in hits[1:]:
            if hit[0] >= kept[-1][1]:
                kept.append(hit)
            elif hit[2] < kept[-1][2]:
                kept[-1] = hit
        return [Hit(start, end, self._each[at][0].kind) for start, end, at in kept]


# Without counted repetitions, which would make RE2's machine many times larger and slower.
EMAIL = r"[\pL\pN][\pL\pN._%+'-]*@(?:[\pL\pN][\pL\pN-]*\.)+\pL\pL+"
NORTH_AMERICAN = r"(?:\b1[ .-])?(?:\([2-9]\d{2}\) ?|\b[2-9]\d{2}[.-])[2-9]\d{2}[.-]\d{4}\b"


def _word(expression: str) -> str:
    return rf"(?i)(?:^|[^\pL])(?:{expression})(?:[^\pL]|$)"


def _near(words: Any, text: str, start: int, end: int) -> bool:
    before = text[max(0, start - NEAR_BEFORE) : start]
    return bool(words.search(before) or words.search(text[end : end + NEAR_AFTER]))


def _apart(text: str, start: int, end: int) -> bool:
    """Whether no letter or digit goes on right before or after."""
    if start and (text[start - 1].isalnum() or text[start - 1] == "_"):
        return False
    if start > 1 and text[start - 1] in "-." and text[start - 2].isdigit():
        return False
    if end < len(text) and (text[end].isalnum() or text[end] == "_"):
        return False
    return not (end + 1 < len(text) and text[end] in "-." and text[end + 1].isdigit())


def _bare(text: str) -> str:
    return "".join(each for each in text if each.isalnum()).upper()


def _whole(text: str, start: int, end: int) -> Span | None:
    return start, end


def _email(text: str, start: int, end: int) -> Span | None:
    domain = text[start:end].rpartition("@")[2].lower()
    if domain.rpartition(".")[2] in FILE_ENDINGS or not any(
        each.isalpha() for each in domain.rpartition(".")[0]
    ):
        return None
    if text[start:end].startswith("git@") and text[end : end + 1] == ":":
        return None  # the address of a repository
    return start, end


def _iban(text: str, start: int, end: int) -> Span | None:
    """The pattern is its beginning; the country tells how long it is."""
    length = IBAN_LENGTHS.get(text[start : start + 2].upper())
    at, seen = start, 0
    while length is not None and at < len(text) and (text[at].isalnum() or text[at] in " -"):
        seen += text[at].isalnum()
        at += 1
        if seen == length:
            return (start, at) if iban(_bare(text[start:at])) else None
    return None


def _card(text: str, start: int, end: int) -> Span | None:
    """A run of digits, or the groups in which cards are printed among other numbers."""
    groups, at = [], start
    for each in text[start:end].replace("-", " ").split(" "):
        groups.append((at, at + len(each)))
        at += len(each) + 1
    for first in range(len(groups)):
        for last in range(first, min(first + 5, len(groups))):
            shape = tuple(e - s for s, e in groups[first : last + 1])
            if len(shape) > 1 and shape not in CARD_GROUPS:
                continue
            span = groups[first][0], groups[last][1]
            if _is_card(_bare(text[slice(*span)])):
                return span
    return None


def _is_card(digits: str) -> bool:
    """The length and first digits that the schemes use (ISO/IEC 7812), then the check digit."""
    two, four = int(digits[:2] or 0), int(digits[:4] or 0)
    schemes = {
        14: two in (30, 36, 38, 39),
        15: two in (34, 37),
        16: digits[:1] in ("4", "6") or 51 <= two <= 55 or 2221 <= four <= 2720 or two == 35,
        19: digits[:1] in ("4", "6"),
    }
    return schemes.get(len(digits), False) and len(set(digits)) > 1 and luhn(digits)


def _national(each: NationalId) -> Check:
    def check(text: str, start: int, end: int) -> Span | None:
        return (start, end) if each.valid(_bare(text[start:end])) else None

    return check


def _ip(text: str, start: int, end: int) -> Span | None:
    before = text[max(0, start - 9) : start].lower()
    if before.endswith("v") or "version" in before:
        return None
    return _address(text, start, end)


def _ipv6(text: str, start: int, end: int) -> Span | None:
    while end > start and text[end - 1] in ".:" and text[end - 2 : end] != "::":
        end -= 1
    groups = [each for each in text[start:end].split(":") if each]
    if len(groups) < 7 and "::" not in text[start:end]:
        return None  # a time of day
    if len(groups) < 3 or not any(each.isdigit() for each in text[start:end]):
        return None
    return _address(text, start, end)


def _address(text: str, start: int, end: int) -> Span | None:
    try:
        address = ip_address(text[start:end])
    except ValueError:
        return None
    number, version = int(address), address.version
    nobody = any(low <= number <= high and version == each for low, high, each in NOBODY)
    return None if nobody else (start, end)


def _phone(text: str, start: int, end: int) -> Span | None:
    candidate = text[start:end].rstrip(" ().-/")
    end = start + len(candidate)
    digits = _bare(candidate)
    if not 8 <= len(digits) <= 15 or "  " in candidate or DATES.search(candidate):
        return None
    return start, end


DATES = re2.compile(r"^(?:\d{4}[-/.]\d\d?[-/.]\d\d?|\d\d?[-/.]\d\d?[-/.]\d{4})\b")
