"""Personal data in the gateway's own lines, hidden before they are written."""

import logging
from typing import TYPE_CHECKING

from llm_gateway_api import Redact

if TYPE_CHECKING:
    from llm_gateway.binding import Generation


class Redaction:
    """`hide` is the present configuration's; None writes lines as they are."""

    def __init__(self) -> None:
        self.hide: Redact | None = None

    def followed(self, generation: "Generation") -> "Generation":
        """`generation`, as whose settings say lines are hidden from now on; all that the
        process logs passes through here."""
        wanted = generation.settings.telemetry.logging.pii_redaction
        self.hide = generation.maker.offers["redact"] if wanted else None
        for handler in logging.getLogger().handlers:
            if not isinstance(handler.formatter, Formatter):
                handler.setFormatter(Formatter(handler.formatter or logging.Formatter(), self))
        return generation


class Formatter(logging.Formatter):
    """Redacts what `inner` makes of a line, and leaves the line out where that fails."""

    def __init__(self, inner: logging.Formatter, redaction: Redaction) -> None:
        super().__init__()
        self._inner = inner
        self._redaction = redaction

    def format(self, record: logging.LogRecord) -> str:
        text = self._inner.format(record)
        hide = self._redaction.hide
        if hide is None:
            return text
        try:
            return hide(text)
        except Exception as error:
            kind = type(error).__name__
            return f"ERROR redaction.failed {kind}: a line of {record.name} was left out"
