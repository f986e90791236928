"""Check digits: whether a number is one that its issuer gives out. All take bare characters."""

from collections.abc import Sequence
from datetime import date
from itertools import cycle

# Length of an account number by country (ISO 13616 registry).
IBAN_LENGTHS = {
    "AD": 24, "AE": 23, "AL": 28, "AT": 20, "AZ": 28, "BA": 20, "BE": 16, "BG": 22, "BH": 22,
    "BR": 29, "BY": 28, "CH": 21, "CR": 22, "CY": 28, "CZ": 24, "DE": 22, "DK": 18, "DO": 28,
    "EE": 20, "EG": 29, "ES": 24, "FI": 18, "FO": 18, "FR": 27, "GB": 22, "GE": 22, "GI": 23,
    "GL": 18, "GR": 27, "GT": 28, "HR": 21, "HU": 28, "IE": 22, "IL": 23, "IQ": 23, "IS": 26,
    "IT": 27, "JO": 30, "KW": 30, "KZ": 20, "LB": 28, "LI": 21, "LT": 20, "LU": 20, "LV": 21,
    "MC": 27, "MD": 24, "ME": 22, "MK": 19, "MR": 27, "MT": 31, "MU": 30, "NL": 18, "NO": 15,
    "PK": 24, "PL": 28, "PS": 29, "PT": 25, "QA": 29, "RO": 24, "RS": 22, "SA": 24, "SE": 24,
    "SI": 19, "SK": 24, "SM": 27, "TN": 24, "TR": 26, "UA": 29, "VA": 22, "VG": 24, "XK": 20,
}  # fmt: skip
_VERHOEFF_STEPS = ((0, 1, 2, 3, 4, 5, 6, 7, 8, 9), (1, 5, 7, 6, 2, 8, 3, 0, 9, 4))


def luhn(digits: str) -> bool:
    """ISO/IEC 7812: every second digit from the right counts twice."""
    total = 0
    for at, each in enumerate(reversed(digits)):
        number = int(each) << (at & 1)
        total += number - 9 if number > 9 else number
    return total % 10 == 0


def iban(text: str) -> bool:
    """ISO 7064 mod 97-10, with the country's length."""
    if IBAN_LENGTHS.get(text[:2]) != len(text):
        return False
    return int("".join(str(int(each, 36)) for each in text[4:] + text[:4])) % 97 == 1


def weighted(digits: str, weights: Sequence[int]) -> int:
    """The sum of digits, each by its weight; weights begin anew when they are used up."""
    return sum(int(each) * weight for each, weight in zip(digits, cycle(weights), strict=False))


def mod11_10(digits: str) -> bool:
    """ISO 7064 mod 11,10."""
    product = 10
    for each in digits[:-1]:
        product = ((int(each) + product) % 10 or 10) * 2 % 11
    return (11 - product) % 10 == int(digits[-1])


def verhoeff(digits: str) -> bool:
    """Verhoeff's dihedral check, which finds every swap of neighbours."""
    permutation = tuple(range(10))
    step = _VERHOEFF_STEPS[1]
    check = 0
    for each in reversed(digits):
        check = _dihedral(check, permutation[int(each)])
        permutation = tuple(permutation[step[at]] for at in range(10))
    return check == 0


def _dihedral(one: int, other: int) -> int:
    """The product in the symmetry group of the pentagon: 0 to 4 turn, 5 to 9 mirror."""
    turn = (one + other) % 5 if one < 5 else (one - other) % 5
    return turn if (one < 5) == (other < 5) else turn + 5


def day(year: int, month: int, day_of_month: int) -> bool:
    """Whether there is such a day."""
    try:
        date(year, month, day_of_month)
    except ValueError:
        return False
    return True
