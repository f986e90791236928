"""Personal data in the gateway's own lines, hidden before they are written."""

import logging
from collections.abc import Mapping
from typing import Any

from llm_gateway_api import Redact

from llm_gateway.settings import Settings


class Redaction:
    """`hide` is the present configuration's; None writes lines as they are."""

    def __init__(self) -> None:
        self.hide: Redact | None = None

    def of(self, settings: Settings, offers: Mapping[str, Any]) -> None:
        """From now on as `settings` say; what the process logs passes through it."""
        self.hide = offers["redact"] if settings.telemetry.logging.pii_redaction else None
        for handler in logging.getLogger().handlers:
            if not isinstance(handler.formatter, Formatter):
                handler.setFormatter(Formatter(handler.formatter or logging.Formatter(), self))


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
