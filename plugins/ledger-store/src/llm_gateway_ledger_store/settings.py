"""``plugins.ledger_store``"""

from llm_gateway_api import Seconds, Section
from pydantic import Field


class LedgerSettings(Section):
    """How records travel from the spool to the store, and how long they stay."""

    ship_seconds: Seconds = Field(
        default=1.0, gt=0, description="seconds between two shipments to the store"
    )
    retention_days: int | None = Field(
        default=None, ge=1, description="days a record is kept; for ever if absent"
    )
