"""Rows of an operator's own: negotiated prices, models that the catalogue does not have."""

from decimal import Decimal

from llm_gateway_api import METERS, Section
from pydantic import Field, field_validator

from llm_gateway_catalog_models.row import Row, Tariff

PRICED = (*METERS, "search_units")


class OwnRow(Section):
    """A model and its price; it takes the place of the catalogue's row."""

    kind: str = Field(description="the kind of provider: openai, anthropic, …")
    id: str = Field(description="the vendor's name of the model")
    prices: dict[str, Decimal] = Field(
        default_factory=dict,
        description="USD per million of each meter: input, output, reasoning, cache_read, …",
    )
    context_window: int | None = Field(default=None, ge=1, description="tokens")
    max_output: int | None = Field(default=None, ge=1, description="tokens")
    capabilities: tuple[str, ...] = Field(default=(), description="chat, tools, vision, …")
    since: str = Field(
        default="own", pattern=r"^[0-9A-Za-z._-]{1,40}$", description="version of the price"
    )

    @field_validator("prices")
    @classmethod
    def _meters(cls, given: dict[str, Decimal]) -> dict[str, Decimal]:
        for name, each in given.items():
            if name not in PRICED:
                raise ValueError(f"{name!r} is no meter; take one of {', '.join(PRICED)}")
            if not each.is_finite() or each < 0:
                raise ValueError(f"{name} must be 0 or more")
        return given

    def row(self) -> Row:
        """`reasoning` is charged as `output` where it is not named."""
        meters = {name: str(each) for name, each in self.prices.items()}
        if "output" in meters:
            meters.setdefault("reasoning", meters["output"])
        prices = (Tariff(meters),) if meters else ()
        return Row(
            self.id,
            self.context_window,
            self.max_output,
            frozenset(self.capabilities),
            prices,
            "the configuration",
            self.since,
        )


class CatalogSettings(Section):
    """``plugins.catalog_models``."""

    models: tuple[OwnRow, ...] = Field(
        default=(), description="rows of your own; each takes the place of the catalogue's"
    )
