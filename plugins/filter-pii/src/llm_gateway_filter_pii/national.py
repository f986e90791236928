"""National numbers of persons: their form, their check, and the words that must stand near.

Where form and check leave little to chance no word is needed. `valid` gets the characters
without separators, in upper case.
"""

from collections.abc import Callable
from dataclasses import dataclass

from llm_gateway_filter_pii.numbers import day, luhn, mod11_10, verhoeff, weighted

_DNI = "TRWAGMYFPDXBNJZSQVHLCKE"
_HETU = "0123456789ABCDEFHJKLMNPRSTUVWXY"
_ODD = dict(
    zip(
        "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ",
        (1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 1, 0, 5, 7, 9, 13, 15, 17, 19, 21,
         2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23),
        strict=True,
    )
)  # fmt: skip
_CENTURIES = {0: 1900, 1: 2000, 2: 2100, 3: 2200, 4: 1800}


@dataclass(frozen=True, slots=True)
class NationalId:
    """A number of `country` (ISO 3166); one of `words` stands near it, if there are any."""

    country: str
    pattern: str
    valid: Callable[[str], bool]
    words: str = ""


def _ssn(text: str) -> bool:
    """No area 000, 666 or 9xx, no group 00, no serial 0000."""
    return (
        text[:3] not in ("000", "666")
        and text[0] != "9"
        and text[3:5] != "00"
        and text[5:] != "0000"
    )


def _nino(text: str) -> bool:
    return text[:2] not in ("BG", "GB", "NK", "KN", "TN", "NT", "ZZ")


def _nhs(text: str) -> bool:
    return (11 - weighted(text[:9], range(10, 1, -1)) % 11) % 11 == int(text[9])


def _steuer(text: str) -> bool:
    """One digit of the first ten stands two or three times, no other more than once."""
    counts = sorted((text[:10].count(each) for each in set(text[:10])), reverse=True)
    return text[0] != "0" and counts[0] in (2, 3) and counts[1] == 1 and mod11_10(text)


def _nir(text: str) -> bool:
    digits = text.replace("2A", "19").replace("2B", "18")
    return digits.isdigit() and 97 - int(digits[:13]) % 97 == int(digits[13:])


def _dni(text: str) -> bool:
    digits = text[:-1]
    if digits[0] in "XYZ":
        digits = str("XYZ".index(digits[0])) + digits[1:]
    return _DNI[int(digits) % 23] == text[-1]


def _codice(text: str) -> bool:
    odd = sum(_ODD[each] for each in text[:15:2])
    even = sum(int(each) if each.isdigit() else ord(each) - 65 for each in text[1:15:2])
    return chr((odd + even) % 26 + 65) == text[15]


def _bsn(text: str) -> bool:
    return (weighted(text[:8], range(9, 1, -1)) - int(text[8])) % 11 == 0


def _belgian(text: str) -> bool:
    given = 97 - int(text[9:])
    return given in (int(text[:9]) % 97, int("2" + text[:9]) % 97)


def _pesel(text: str) -> bool:
    century, month = divmod(int(text[2:4]), 20)
    if not day(_CENTURIES[century] + int(text[:2]), month, int(text[4:6])):
        return False
    return (weighted(text[:10], (1, 3, 7, 9)) + int(text[10])) % 10 == 0


def _swedish(text: str) -> bool:
    digits = text[-10:]
    # A coordination number has 60 added to its day.
    return day(2000, int(digits[2:4]), int(digits[4:6]) % 60) and luhn(digits)


def _hetu(text: str) -> bool:
    digits = text[:6] + text[-4:-1]
    return day(2000, int(text[2:4]), int(text[:2])) and _HETU[int(digits) % 31] == text[-1]


def _norwegian(text: str) -> bool:
    first = (3, 7, 6, 1, 8, 9, 4, 5, 2, 1)
    second = (5, 4, 3, 2, 7, 6, 5, 4, 3, 2, 1)
    # A D-number has 40 added to its day.
    return (
        day(2000, int(text[2:4]), int(text[:2]) % 40)
        and weighted(text[:10], first) % 11 == 0
        and weighted(text, second) % 11 == 0
    )


def _ahv(text: str) -> bool:
    return weighted(text, (1, 3)) % 10 == 0


def _cpf(text: str) -> bool:
    if len(set(text)) == 1:
        return False
    return all(
        weighted(text[:at], range(at + 1, 1, -1)) * 10 % 11 % 10 == int(text[at]) for at in (9, 10)
    )


def _chinese(text: str) -> bool:
    weights = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
    born = day(int(text[6:10]), int(text[10:12]), int(text[12:14]))
    return born and "10X98765432"[weighted(text[:17], weights) % 11] == text[17]


def _nric(text: str) -> bool:
    total = weighted(text[1:8], (2, 7, 6, 5, 4, 3, 2)) + (4 if text[0] in "TG" else 0)
    letters = "JZIHGFEDCBA" if text[0] in "ST" else "XWUTRQPNMLK"
    return letters[total % 11] == text[8]


def _tfn(text: str) -> bool:
    return weighted(text, (1, 4, 3, 7, 5, 8, 6, 9, 10)) % 11 == 0


NATIONAL_IDS = (
    NationalId("US", r"\b\d{3}-\d{2}-\d{4}\b", _ssn),
    NationalId("US", r"\b\d{3} ?\d{2} ?\d{4}\b", _ssn, r"ssn|social security"),
    NationalId(
        "GB", r"(?i)\b[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z] ?\d\d ?\d\d ?\d\d ?[A-D]\b", _nino
    ),
    NationalId("GB", r"\b\d{3}[ -]?\d{3}[ -]?\d{4}\b", _nhs, r"nhs|national health|patient"),
    NationalId(
        "DE",
        r"\b\d{2} ?\d{3} ?\d{3} ?\d{3}\b",
        _steuer,
        r"steuer\w*|steuer-id\w*|idnr|identifikationsnummer|tax (?:id|number)",
    ),
    NationalId(
        "FR",
        r"(?i)\b[1-478] ?\d\d ?(?:0[1-9]|1[0-2]|[2-9]\d) ?(?:\d\d|2[AB]) ?\d{3} ?\d{3} ?\d\d\b",
        _nir,
    ),
    NationalId("ES", r"(?i)\b(?:\d{8}|[XYZ]-?\d{7})-?[A-HJ-NP-TV-Z]\b", _dni),
    NationalId(
        "IT",
        r"(?i)\b[A-Z]{6}[\dL-NP-V]{2}[A-EHLMPRST][\dL-NP-V]{2}[A-Z][\dL-NP-V]{3}[A-Z]\b",
        _codice,
    ),
    NationalId("NL", r"\b\d{9}\b", _bsn, r"bsn|burgerservicenummer|sofinummer"),
    NationalId("BE", r"\b\d\d[. ]?\d\d[. ]?\d\d[- ]?\d{3}[. ]?\d\d\b", _belgian),
    NationalId("PL", r"\b\d{11}\b", _pesel),
    NationalId("SE", r"\b(?:19|20)?\d{6}[-+]\d{4}\b", _swedish),
    NationalId("SE", r"\b(?:19|20)?\d{10}\b", _swedish, r"personnummer|personal identity"),
    NationalId("FI", r"(?i)\b\d{6}[-+A-FU-Y]\d{3}[0-9A-FHJ-NPR-Y]\b", _hetu),
    NationalId("NO", r"\b\d{6} ?\d{5}\b", _norwegian),
    NationalId("CH", r"\b756[. ]?\d{4}[. ]?\d{4}[. ]?\d\d\b", _ahv),
    NationalId("BR", r"\b\d{3}\.\d{3}\.\d{3}-\d\d\b", _cpf),
    NationalId("BR", r"\b\d{11}\b", _cpf, r"cpf|cadastro de pessoas"),
    NationalId("IN", r"\b[2-9]\d{3}[ -]?\d{4}[ -]?\d{4}\b", verhoeff, r"aadhaar|aadhar|uidai|uid"),
    NationalId(
        "CA", r"\b\d{3}[ -]?\d{3}[ -]?\d{3}\b", luhn, r"sin|social insurance|assurance sociale"
    ),
    NationalId("AU", r"\b\d{3} ?\d{3} ?\d{3}\b", _tfn, r"tfn|tax file"),
    NationalId("CN", r"(?i)\b[1-9]\d{16}[\dX]\b", _chinese),
    NationalId("SG", r"(?i)\b[STFG]\d{7}[A-Z]\b", _nric),
)
COUNTRIES = tuple(sorted({each.country for each in NATIONAL_IDS}))
