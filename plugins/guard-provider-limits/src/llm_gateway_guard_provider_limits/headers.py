"""What an answer's headers say about the account's limits. Pure.

Sources: platform.openai.com/docs/guides/rate-limits (``x-ratelimit-…``, durations such as
``6m0s``; Azure, which at times writes ``x-rate-limit-reset-tokens``, and others use the same
names), docs.anthropic.com/en/api/rate-limits (``anthropic-ratelimit-…``, RFC 3339 times),
docs.together.ai (one limit without a kind), inference-docs.cerebras.ai (the span in the name), the
IETF's draft of ``ratelimit-…``.
"""

import re
from datetime import datetime
from email.utils import parsedate_to_datetime

import llm_gateway_api as gw

# (remaining, reset) for each kind of limit that a vendor tells.
PAIRS = (
    *(
        (f"x-ratelimit-remaining-{kind}", f"x-ratelimit-reset-{kind}")
        for kind in ("requests", "tokens", "requests-day", "tokens-minute")
    ),
    *(
        (f"anthropic-ratelimit-{kind}-remaining", f"anthropic-ratelimit-{kind}-reset")
        for kind in ("requests", "tokens", "input-tokens", "output-tokens")
    ),
    ("x-ratelimit-remaining-tokens", "x-rate-limit-reset-tokens"),
    ("x-ratelimit-remaining", "x-ratelimit-reset"),
    ("ratelimit-remaining", "ratelimit-reset"),
)
UNIX = 1e9  # a reset beyond it is a time and no wait
_DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m(?!s))?(?:([\d.]+)s)?(?:([\d.]+)ms)?")


def exhausted(headers: gw.Headers) -> float | None:
    """Seconds until the account takes requests again, where it says that nothing is left."""
    waits = [
        wait
        for remaining, reset in PAIRS
        if headers.get(remaining) == "0"
        and (wait := _seconds(headers.get(reset, ""), headers.get("date", ""))) is not None
    ]
    return max(waits, default=None)


def _seconds(reset: str, date: str) -> float | None:
    """A number, a duration, or a time, which is read by the answer's own clock."""
    try:
        if match := _DURATION.fullmatch(reset):
            if not any(match.groups()):
                return None
            hours, minutes, seconds, millis = (float(each or 0) for each in match.groups())
            return hours * 3600 + minutes * 60 + seconds + millis / 1000
        if "T" in reset:
            at = datetime.fromisoformat(reset.replace("Z", "+00:00"))
            return max(0.0, (at - parsedate_to_datetime(date)).total_seconds())
        number = float(reset)
        if number > UNIX:
            number -= parsedate_to_datetime(date).timestamp()
        return max(0.0, number)
    except (ValueError, TypeError, OverflowError):
        return None
