"""What two questions must share besides likeness: numbers, quotes, negations, names, order.

Vectors rate "100 USD" and "500 USD", or "install" and "uninstall", as the same question; an
answer to one is wrong for the other. The check is strict: where it doubts, nothing is served.
"""

import re
import unicodedata
from collections.abc import Iterator

_NUMBER = re.compile(r"\d+(?:[.,:/-]\d+)*")
_QUOTED = re.compile(r"\"([^\"]*)\"|“([^”]*)”|„([^“]*)“|`([^`]*)`|«([^»]*)»|(?<!\w)'([^']*)'(?!\w)")
_WORD = re.compile("[^\\W\\d_][\\w'\u2019-]*")

_SPOKEN = re.compile("[.!?]\\s|\n|[^\\W\\d_][\\w'\u2019-]*")


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


_NEGATIONS = _set(
    "no not never none nothing nobody neither nor without cannot except unless "
    "nicht kein keine keinen nie niemals ohne ne pas jamais sans non mai senza nunca sin"
)
_NUMERALS = _set(
    "zero one two three four five six seven eight nine ten eleven twelve hundred thousand "
    "million billion first second third half double triple once twice"
)
_PREFIXES = ("un", "dis", "de", "in", "im", "non", "anti", "mis", "re")
# Pairs whose exchange turns a question round.
_OPPOSITES = tuple(
    frozenset(pair.split("/"))
    for pair in _set(
        "before/after above/below over/under increase/decrease more/less most/least min/max "
        "minimum/maximum enable/disable open/close start/stop buy/sell import/export up/down "
        "left/right north/south east/west first/last old/new true/false add/remove allow/deny "
        "include/exclude encrypt/decrypt win/lose hot/cold high/low begin/end push/pull "
        "read/write input/output ascending/descending men/women male/female with/without "
        "from/to yesterday/tomorrow today/tomorrow past/future best/worst pros/cons "
        "good/bad better/worse older/newer oldest/newest young/old younger/older big/small "
        "bigger/smaller biggest/smallest large/small larger/smaller largest/smallest long/short "
        "longer/shorter longest/shortest higher/lower highest/lowest fast/slow faster/slower "
        "fastest/slowest cheap/expensive cheaper/dearer cheapest/expensive early/late "
        "earlier/later gain/lose leave/arrive departure/arrival summer/winter day/night "
        "morning/evening warm/cold wet/dry light/dark light/heavy fresh/sour full/empty "
        "inside/outside internal/external public/private upload/download sender/recipient "
        "employer/employee buyer/seller client/server question/answer create/delete"
    )
)


def agree(one: str, other: str) -> bool:
    """Whether nothing that turns an answer differs between two questions."""
    words, others = _words(one), _words(other)
    return marks(one) == marks(other) and not _turned(words, others) and not _moved(words, others)


def marks(text: str) -> tuple[tuple[str, ...], ...]:
    """Numbers and quotes in their order, the negations, and the names."""
    plain = unicodedata.normalize("NFKC", text)
    quotes = tuple("".join(found).casefold() for found in _QUOTED.findall(plain))
    words = _words(plain)
    return (
        tuple(_NUMBER.findall(plain)),
        tuple(each for each in words if each in _NUMERALS),
        quotes,
        tuple(sorted(_negations(words))),
        tuple(sorted(set(_names(plain)))),
    )


def _words(text: str) -> list[str]:
    return [each.casefold().replace("\u2019", "'") for each in _WORD.findall(text)]


def _negations(words: list[str]) -> Iterator[str]:
    for each in words:
        if each in _NEGATIONS or each.endswith("n't"):
            yield "not"


def _names(text: str) -> Iterator[str]:
    """Words with a capital that do not begin a sentence, and words with capitals inside."""
    begins = True
    for match in _SPOKEN.finditer(text):
        word = match[0]
        if not word[0].isalpha():
            begins = True
            continue
        if (word[0].isupper() and not begins and word != "I") or any(c.isupper() for c in word[1:]):
            yield word.casefold()
        begins = False


def _turned(one: list[str], other: list[str]) -> bool:
    """Whether a word of one stands against its opposite in the other."""
    only_one, only_other = set(one) - set(other), set(other) - set(one)
    for pair in _OPPOSITES:
        if pair & only_one and pair & only_other:
            return True
    return any(_prefixed(a, b) or _prefixed(b, a) for a in only_one for b in only_other)


def _moved(one: list[str], other: list[str]) -> bool:
    """Whether the same words stand in another order: who bites whom."""
    return one != other and sorted(one) == sorted(other)


def _prefixed(word: str, longer: str) -> bool:
    return len(word) > 3 and any(longer == prefix + word for prefix in _PREFIXES)
