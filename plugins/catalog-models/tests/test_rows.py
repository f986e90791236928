"""Each row says where it is from, and says nothing that a provider's own rows deny."""

import re
from datetime import date
from decimal import Decimal
from importlib.metadata import entry_points
from time import time
from typing import Any

import llm_gateway_api as gw
import pytest
from llm_gateway_catalog_models.catalog import Catalog
from llm_gateway_catalog_models.plugin import make
from llm_gateway_catalog_models.row import Row
from llm_gateway_catalog_models.rows import ROWS
from llm_gateway_catalog_models.settings import CatalogSettings
from pydantic import ValidationError

NOVEMBER, JANUARY = 1_795_500_000.0, 1_798_800_000.0  # 2026-11-24, 2027-01-01 10:40 UTC
ALL = [(kind, row) for kind, rows in ROWS.items() for row in rows]
NEW = date(2026, 11, 1)


def catalog(**given: Any) -> gw.ModelCatalog:
    return make(CatalogSettings.model_validate(given))


@pytest.mark.parametrize(("kind", "row"), ALL, ids=lambda each: getattr(each, "id", each))
def test_every_row_has_its_source_and_day(kind: str, row: Row) -> None:
    assert len(row.source) > 10
    assert date.fromisoformat(row.read) >= NEW
    assert row.context is None or row.context >= 2_000
    assert row.capabilities
    assert row.prices or row.note


@pytest.mark.parametrize(("kind", "row"), ALL, ids=lambda each: getattr(each, "id", each))
def test_a_price_is_versioned_and_dearer_rates_are_dearer(kind: str, row: Row) -> None:
    price = catalog().price(kind, row.id, NOVEMBER)
    if not row.prices:
        assert price is None
        return
    assert price is not None
    assert re.fullmatch(rf"{kind}/{re.escape(row.id)}@20\d\d-\d\d-\d\d", price.version)
    assert all(each >= 0 for each in price.meters.values())
    assert "output" not in price.meters or price.meters["reasoning"] == price.meters["output"]
    cached, whole = price.meters.get("cache_read"), price.meters.get("input")
    assert cached is None or (whole is not None and cached < whole)
    for _, rates in price.tiers:
        assert all(each is None or each > price.meters[name] for name, each in rates.items())


def test_names_are_of_one_row_each() -> None:
    for kind, rows in ROWS.items():
        names = [name for row in rows for name in (row.id, *row.aliases)]
        assert len(names) == len(set(names)), kind


def providers() -> dict[str, gw.ProviderSpec]:
    specs: dict[str, gw.ProviderSpec] = {}
    for each in entry_points(group="llm_gateway.plugins"):
        declared = getattr(each.load(), "llm_gateway_providers", None)
        specs |= {spec.kind: spec for spec in (declared() if declared else ())}
    return specs


SETTINGS: dict[str, dict[str, Any]] = {
    "azure_openai": {
        "endpoint": "https://acme.openai.azure.com",
        "deployments": {row.id: {"base_model": row.id} for row in ROWS["azure_openai"]},
    },
    "bedrock": {"region": "us-east-1"},
}


@pytest.mark.parametrize("kind", ROWS)
def test_rows_agree_with_those_of_the_provider(kind: str) -> None:
    """What both say is the same, and the provider lists nothing that has no row."""
    spec = providers()[kind]
    settings = spec.settings.model_validate({"api_key": "k", **SETTINGS.get(kind, {})})
    offers = {"fetch": None, "clock": time}
    needs = {name: offers[name] for name in spec.needs}
    own, ours = spec.make(kind, settings, **needs).models(), catalog()
    assert own
    for info in own:
        row, price = ours.info(kind, info.id), ours.price(kind, info.id, NOVEMBER)
        assert row is not None, info.id
        for theirs, mine in (
            (info.context_window, row.context_window),
            (info.max_output, row.max_output),
            (info.capabilities or None, row.capabilities),
        ):
            assert theirs is None or theirs == mine, info.id
        meters = price.meters if price is not None else {}
        for said, meter in ((info.input_price, "input"), (info.output_price, "output")):
            if said is not None:
                assert meters[meter] == Decimal(said), info.id


@pytest.mark.parametrize(
    ("kind", "name", "row"),
    [
        ("openai", "gpt-4o-2024-11-20", "gpt-4o"),
        ("anthropic", "claude-haiku-4-5-20251001", "claude-haiku-4-5"),
        ("anthropic", "claude-haiku-4-5@20251001", "claude-haiku-4-5"),
        ("gemini", "models/gemini-2.5-pro", "gemini-2.5-pro"),
        ("mistral", "magistral-medium-latest", "mistral-medium-2604"),
        ("bedrock", "anthropic.claude-opus-5-5-20260922-v1:0", "global.anthropic.claude-opus-5-5"),
    ],
)
def test_a_model_is_found_by_its_other_names(kind: str, name: str, row: str) -> None:
    price = catalog().price(kind, name, NOVEMBER)
    assert price is not None
    assert price.version.startswith(f"{kind}/{row}@")
    info = catalog().info(kind, name)
    assert info is not None
    assert info.id == name


@pytest.mark.parametrize("name", ["gpt-4", "gpt-4o-mini-tts", "gpt-4o-2024", "", "GPT-4O"])
def test_a_name_that_only_looks_alike_is_not_known(name: str) -> None:
    assert catalog().price("openai", name, NOVEMBER) is None
    assert catalog().info("openai", name) is None
    assert catalog().info("nobody", "gpt-4o") is None


def test_a_change_of_price_takes_effect_on_its_day() -> None:
    before = catalog().price("gemini", "gemini-3.8-flash", NOVEMBER)
    after = catalog().price("gemini", "gemini-3.8-flash", JANUARY)
    assert before is not None and after is not None
    assert (before.meters["output"], after.meters["output"]) == (Decimal("3.75"), Decimal("7.50"))
    assert before.version != after.version


@pytest.mark.parametrize(
    ("kind", "model", "usage", "cost"),
    [
        ("openai", "gpt-6-sol", gw.Usage(1000, 500, 200, output=300, reasoning=100), "0.0066"),
        ("openai", "gpt-6-sol", gw.Usage(300_000, output=1000), "1.215"),
        ("openai", "gpt-6-sol", gw.Usage(300_000, cache_read=1, output=1000), None),
        ("anthropic", "claude-haiku-5-5", gw.Usage(100_000, output=1000), "0.0105"),
        ("anthropic", "claude-haiku-5-5", gw.Usage(90_000, cache_read=10_001), "0.04550005"),
        ("anthropic", "claude-opus-5", gw.Usage(cache_write=8, cache_write_1h=8), "0.00013"),
        ("cohere", "rerank-v3.5", gw.Usage(search_units=2), "0.004"),
        ("cohere", "command-a-plus-05-2026", gw.Usage(1), None),
        ("gemini", "gemini-2.5-flash", gw.Usage(audio_input=1000, reasoning=10), "0.001025"),
        ("gemini", "gemini-2.5-pro", gw.Usage(audio_input=1000), None),
        ("bedrock", "eu.anthropic.claude-opus-5-5", gw.Usage(1000, output=1000), "0.0264"),
        ("bedrock", "anthropic.claude-haiku-5-5", gw.Usage(100_001), None),
    ],
)
def test_costs_are_exact_and_unknown_is_unknown(
    kind: str, model: str, usage: gw.Usage, cost: str | None
) -> None:
    price = catalog().price(kind, model, NOVEMBER)
    found = price.cost(usage) if price is not None else None
    assert found == (None if cost is None else Decimal(cost))


def test_an_operators_row_takes_the_place_of_ours() -> None:
    own = {"kind": "openai", "id": "gpt-4o", "since": "contract-7", "prices": {"output": 0.3}}
    price = catalog(models=[own]).price("openai", "gpt-4o", NOVEMBER)

    assert price is not None
    assert price.version == "openai/gpt-4o@contract-7"
    assert price.meters == {"output": Decimal("0.3"), "reasoning": Decimal("0.3")}


@pytest.mark.parametrize(
    ("prices", "said"),
    [
        ({"tokens": 1}, "no meter"),
        ({"input": -1}, "0 or more"),
        ({"input": "NaN"}, "finite number"),
    ],
)
def test_a_wrong_row_names_its_key(prices: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        catalog(models=[{"kind": "openai", "id": "m", "prices": prices}])


def test_a_kind_lists_its_rows_by_the_vendors_names() -> None:
    names = [each.id for each in Catalog(ROWS).models("mistral")]
    assert "mistral-medium-2604" in names
    assert "magistral-medium-latest" not in names
