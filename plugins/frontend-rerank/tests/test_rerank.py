"""Rankings over the whole way: clients, the gateway, and providers that rank."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import cohere as sdk
import httpx
import pytest
import pytest_asyncio
from llm_gateway_testkit import cohere_dialect as cohere
from llm_gateway_testkit import openai_dialect
from llm_gateway_testkit.gateway import Gateway, running_gateway
from llm_gateway_testkit.rawclient import Reply, call
from llm_gateway_testkit.scripted import ScriptedProvider

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:cohere"),
]
DOCUMENTS = ["trains", "the tide is low", "low water"]
ASKED: dict[str, Any] = {
    "model": "cohere/rerank-v3.5",
    "query": "low tide",
    "documents": DOCUMENTS,
}


@dataclass(frozen=True, slots=True)
class Site:
    gateway: Gateway
    vendor: ScriptedProvider

    async def rank(self, body: object = None, path: str = "/v1/rerank", **members: Any) -> Reply:
        asked = {**ASKED, **members} if body is None else body
        return await call(f"{self.gateway.url}{path}", asked, key=self.gateway.api_key)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running() -> AsyncIterator[Site]:
    async with ScriptedProvider(validator=cohere.strict("k-1")) as vendor:
        config = {
            "providers": {
                "cohere": {"api_key": "k-1", "base_url": vendor.url, "max_retries": 0},
                "simulated": {},
                "openai": {"api_key": "sk-1", "base_url": f"{vendor.url}/v1"},
            }
        }
        async with running_gateway(config) as gateway:
            yield Site(gateway, vendor)


@pytest_asyncio.fixture(loop_scope="module")
async def site(running: Site) -> AsyncIterator[Site]:
    running.vendor.reset()
    yield running
    assert not running.vendor.unexpected
    running.vendor.reset()


@pytest.mark.parametrize("path", ["/v1/rerank", "/v2/rerank"])
async def test_cohere(site: Site, path: str) -> None:
    """The vendor's order, scores and units, under the same members."""
    site.vendor.enqueue(cohere.rerank_answer([(1, 0.75), (2, 0.5)], units=2))

    reply = await site.rank(path=path, top_n=2, max_tokens_per_doc=100)

    assert reply.status == 200
    assert reply.json == {
        "id": cohere.ID,
        "results": [
            {"index": 1, "relevance_score": 0.75},
            {"index": 2, "relevance_score": 0.5},
        ],
        "meta": {"api_version": {"version": "2"}, "billed_units": {"search_units": 2}},
    }
    assert site.vendor.received[0].json == {
        "model": "rerank-v3.5",
        "query": "low tide",
        "documents": DOCUMENTS,
        "top_n": 2,
        "max_tokens_per_doc": 100,
    }
    assert reply.headers["x-gateway-provider"] == "cohere"


async def test_documents_are_added_on_request(site: Site) -> None:
    """Also where they came as objects; a member that the vendor has not is told of."""
    site.vendor.enqueue(cohere.rerank_answer([(1, 0.75)]))
    objects = [{"text": each} for each in DOCUMENTS]

    reply = await site.rank(documents=objects, return_documents=True, rank_fields=["text"])

    assert reply.json["results"] == [
        {"index": 1, "relevance_score": 0.75, "document": {"text": "the tide is low"}}
    ]
    assert site.vendor.received[0].json["documents"] == DOCUMENTS
    assert reply.headers["x-gateway-dropped"] == "rank_fields"


async def test_simulated(site: Site) -> None:
    """The simulated provider ranks by shared words, and counts tokens."""
    reply = await site.rank(model="simulated/simulated", top_n=2)

    found = reply.json
    assert [each["index"] for each in found["results"]] == [1, 2]
    assert found["results"][0]["relevance_score"] == 1.0
    assert found["meta"]["tokens"] == {"input_tokens": 9, "output_tokens": 0}


@pytest.mark.parametrize(
    ("members", "param"),
    [
        ({"model": None}, "model"),
        ({"model": ""}, "model"),
        ({"query": 7}, "query"),
        ({"documents": []}, "documents"),
        ({"documents": "x"}, "documents"),
        ({"documents": ["x", 7]}, "documents[...]"),
        ({"documents": [{"title": "x"}]}, "documents[...]"),
        ({"top_n": 0}, "top_n"),
        ({"top_n": True}, "top_n"),
        ({"return_documents": "yes"}, "return_documents"),
        ({"stream": True}, "stream"),
    ],
)
async def test_wrong_members_are_named(site: Site, members: dict[str, Any], param: str) -> None:
    reply = await site.rank(**members)

    error = reply.json["error"]
    assert (reply.status, error["type"]) == (400, "invalid_request_error")
    assert str(error["param"]).startswith(param.removesuffix("[...]"))
    assert set(error) == {"message", "type", "param", "code"}


@pytest.mark.parametrize("name", ["model", "query", "documents"])
async def test_missing_members_are_named(site: Site, name: str) -> None:
    reply = await site.rank({key: value for key, value in ASKED.items() if key != name})

    assert (reply.status, reply.json["error"]["param"]) == (400, name)


async def test_a_provider_that_does_not_rank(site: Site) -> None:
    reply = await site.rank(model="openai/gpt-6-sol")

    error = reply.json["error"]
    assert (reply.status, error["code"], error["param"]) == (400, "unsupported_parameter", "model")
    assert "rerank" in error["message"]


@pytest.mark.parametrize(("status", "shown"), [(400, 400), (429, 429), (500, 502)])
async def test_errors_of_the_vendor(site: Site, status: int, shown: int) -> None:
    site.vendor.enqueue(cohere.error_answer(status, "no"))

    reply = await site.rank()

    assert reply.status == shown
    assert set(reply.json["error"]) == {"message", "type", "param", "code"}


async def test_an_answer_that_is_none(site: Site) -> None:
    """Neither another vendor's answer nor a place without a document passes for a ranking."""
    site.vendor.enqueue(openai_dialect.chat_answer(), cohere.rerank_answer([(9, 0.5)]))

    assert (await site.rank()).status == 502
    assert (await site.rank(return_documents=True)).status == 502


async def test_coheres_own_sdk(site: Site) -> None:
    """Its v2 client with the gateway's address and key; refusals are its own classes."""
    site.vendor.enqueue(cohere.rerank_answer([(1, 0.75)]))

    def ask() -> tuple[Any, Exception | None]:
        with httpx.Client() as http:
            client = sdk.ClientV2(
                api_key=site.gateway.api_key, base_url=site.gateway.url, httpx_client=http
            )
            ranks = client.rerank(model="rerank-v3.5", query="low tide", documents=DOCUMENTS)
            try:
                client.rerank(model="rerank-v3.5", query="low tide", documents=[])
            except sdk.BadRequestError as error:
                return ranks, error
        return ranks, None

    ranks, refusal = await asyncio.to_thread(ask)

    assert [(each.index, each.relevance_score) for each in ranks.results] == [(1, 0.75)]
    assert ranks.meta.billed_units.search_units == 1
    assert refusal is not None and "documents" in str(refusal)
