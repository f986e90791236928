"""How long to wait, from the many forms in which vendors say it."""

import math
import re
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

MAX_WAIT = 86_400.0
UNIX = 1e9  # a number this large is a point in time and no duration
_PIECE = re.compile(r"(\d+(?:\.\d+)?)(ms|us|µs|ns|h|m|s|d)")
_UNITS = {"d": 86400, "h": 3600, "m": 60, "s": 1, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_RESETS = re.compile(r"^(x-)?ratelimit-reset(-(requests|tokens)(-(second|minute|hour|day))?)?$")


def wait_of(headers: Mapping[str, str], clock: Callable[[], float] = time.time) -> float | None:
    """Seconds, from ``retry-after-ms`` or ``retry-after``; None where nothing usable is said."""
    given = {name.lower(): value for name, value in headers.items()}
    if (ms := seconds(given.get("retry-after-ms", ""), clock)) is not None:
        return _bounded(ms / 1000)
    wait = seconds(given.get("retry-after", ""), clock)
    return None if wait is None else _bounded(wait)


def resets(headers: Mapping[str, str], clock: Callable[[], float] = time.time) -> dict[str, float]:
    """Seconds until each limit is fresh again, by header (``x-ratelimit-reset-requests``)."""
    found: dict[str, float] = {}
    for name, value in headers.items():
        if _RESETS.match(name.lower()) and (wait := seconds(value, clock)) is not None:
            found[name.lower()] = wait
    return found


def seconds(text: str, clock: Callable[[], float] = time.time) -> float | None:
    """Read ``1m2.5s``, ``250ms``, plain seconds, Unix seconds, an HTTP or an ISO date."""
    text = text.strip()
    if not text:
        return None
    try:
        number = float(text)
    except ValueError:
        return _worded(text, clock)
    if not math.isfinite(number) or number < 0:
        return None
    return max(0.0, number - clock()) if number > UNIX else number


def _worded(text: str, clock: Callable[[], float]) -> float | None:
    pieces = _PIECE.findall(text)
    if pieces and "".join(number + unit for number, unit in pieces) == text:
        return sum(float(number) * _UNITS[unit] for number, unit in pieces)
    when = _date(text)
    return None if when is None else max(0.0, when - clock())


def _date(text: str) -> float | None:
    for read in (datetime.fromisoformat, parsedate_to_datetime):
        try:
            when = read(text)
        except ValueError:
            continue
        return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
    return None


def _bounded(wait: float) -> float | None:
    return wait if 0 <= wait <= MAX_WAIT else None
