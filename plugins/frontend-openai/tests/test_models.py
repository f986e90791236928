"""One document for two SDKs, and its pages."""

import json
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import llm_gateway_api as gw
import pytest
from llm_gateway_frontend_openai.models import ListModels

IDS = [f"m{number:02}" for number in range(25)]


class Catalog:
    def visible(self, arrival: gw.Arrival) -> Sequence[tuple[str, str, gw.ModelInfo]]:
        info = gw.ModelInfo("m", 1000, 50, created=1790000000)
        return [(each, "p", info) for each in IDS]

    def parameters(self, provider: str, model: str) -> Mapping[str, gw.ParameterOutcome]:
        return {"temperature": "mapped", "seed": "dropped"}


class Prices:
    def price(self, target: gw.Target) -> gw.Price:
        rates = {"input": Decimal("0.10"), "output": Decimal(2)}
        return gw.Price("p/m@1", rates, ((1000, {"input": Decimal(1), "output": None}),))


async def listed(query: dict[str, str], **headers: str) -> Any:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    arrival = gw.Arrival("r", "GET", "/v1/models", "", given, "", 0.0)
    answer = await ListModels(Catalog(), Prices())(gw.EndpointRequest(arrival, {}, query, b""))
    return json.loads(answer.body)


async def test_members_of_both_dialects() -> None:
    model = (await listed({}))["data"][0]

    assert (model["object"], model["created"], model["owned_by"]) == ("model", 1790000000, "p")
    assert (model["type"], model["created_at"]) == ("model", "2026-09-21T14:13:20Z")
    assert (model["max_input_tokens"], model["max_tokens"]) == (1000, 50)


async def test_prices_are_exact_text_by_meter() -> None:
    assert (await listed({}))["data"][0]["pricing"] == {
        "input": "0.10",
        "output": "2",
        "tiers": [{"above": 1000, "input": "1", "output": None}],
        "version": "p/m@1",
    }


async def test_outcomes_of_parameters_come_where_they_are_asked_for() -> None:
    told = (await listed({"parameters": "true", "limit": "1"}))["data"]

    assert [each["parameters"] for each in told] == [{"temperature": "mapped", "seed": "dropped"}]
    assert "parameters" not in (await listed({}))["data"][0]


@pytest.mark.parametrize(
    ("query", "shown", "more"),
    [
        ({}, IDS[:20], True),
        ({"limit": "1000"}, IDS, False),
        ({"limit": "3"}, IDS[:3], True),
        ({"limit": "3", "after_id": "m02"}, IDS[3:6], True),
        ({"after_id": "m20"}, IDS[21:], False),
        ({"limit": "3", "before_id": "m10"}, IDS[7:10], True),
        ({"limit": "3", "before_id": "m02"}, IDS[:2], False),
        ({"after_id": "m24"}, [], False),
    ],
)
async def test_pages(query: dict[str, str], shown: list[str], more: bool) -> None:
    page = await listed(query, anthropic_version="2023-06-01")

    assert [each["id"] for each in page["data"]] == shown
    assert page["has_more"] is more
    assert page["last_id"] == (shown[-1] if shown else None)


async def test_all_at_once_where_the_dialect_does_not_page() -> None:
    assert len((await listed({}))["data"]) == len(IDS)


@pytest.mark.parametrize("limit", ["0", "1001", "x", "-1", "9" * 400])
async def test_limit_that_is_none_is_a_400(limit: str) -> None:
    with pytest.raises(gw.MalformedBodyError):
        await listed({"limit": limit})
