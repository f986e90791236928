"""Faults on request: ``simulate:error=503``, ``simulate:delay_ms=500``, ``simulate:cut``.

They stand in the model's name or in the last user text, so that any client can ask for one.
"""

import re
from dataclasses import dataclass

import llm_gateway_api as gw

MAX_DELAY_MS = 600_000
_FAULT = re.compile(
    r"simulate:(?:error=(?P<error>[45]\d\d)|delay_ms=(?P<delay>\d{1,9})|(?P<cut>cut)\b)"
)
_CLASSES = {
    401: gw.FailureClass.CREDENTIAL_REFUSED,
    402: gw.FailureClass.ACCOUNT_EMPTY,
    403: gw.FailureClass.CREDENTIAL_REFUSED,
    404: gw.FailureClass.MODEL_GONE,
    429: gw.FailureClass.RATE_LIMITED,
    503: gw.FailureClass.OVERLOADED,
    504: gw.FailureClass.NO_FIRST_CONTENT,
    529: gw.FailureClass.OVERLOADED,
}


@dataclass(frozen=True, slots=True)
class Faults:
    """`error` is a status, `delay` seconds before the answer, `cut` ends it halfway."""

    error: int | None = None
    delay: float = 0.0
    cut: bool = False

    def raise_error(self) -> None:
        if self.error is not None:
            raise gw.UpstreamError(
                failure_class(self.error),
                f"The simulated provider was asked to answer {self.error}.",
                upstream_status=self.error,
                retry_after=1.0 if self.error == 429 else None,
            )


def wanted(*texts: str) -> Faults:
    """Return the faults that `texts` ask for; the last of a kind counts."""
    error, delay, cut = None, 0.0, False
    for text in texts:
        if "simulate:" not in text:
            continue
        for match in _FAULT.finditer(text):
            error = int(match["error"]) if match["error"] else error
            delay = min(int(match["delay"]), MAX_DELAY_MS) / 1000 if match["delay"] else delay
            cut = cut or match["cut"] is not None
    return Faults(error, delay, cut)


def failure_class(status: int) -> gw.FailureClass:
    if status in _CLASSES:
        return _CLASSES[status]
    return gw.FailureClass.CALLER_FAULT if status < 500 else gw.FailureClass.SERVER_ERROR
