"""Rankings of a dedicated endpoint, in Cohere's form."""

from typing import Any

import llm_gateway_api as gw
from llm_gateway_dialect_openai.reading import WholeDecoder, objects

NEUTRAL = ("return_documents",)  # written by the gateway, which has the documents


def body(request: gw.RerankRequest) -> tuple[dict[str, Any], tuple[str, ...]]:
    """What is asked, and what the vendor has no member for."""
    asked: dict[str, Any] = {"model": request.model, "query": request.query}
    asked["documents"] = request.documents
    if request.top_n is not None:
        asked["top_n"] = request.top_n
    return asked, tuple(name for name in request.params if name not in NEUTRAL)


class RankingDecoder(WholeDecoder):
    def events(self, found: dict[str, Any]) -> list[gw.Event]:
        if not isinstance(found.get("results"), list):
            raise gw.UpstreamTruncatedError("the answer has no results")
        events: list[gw.Event] = [gw.Started(str(found["id"]) if found.get("id") else None)]
        for each in objects(found, "results"):
            index, score = each.get("index"), each.get("relevance_score")
            if not isinstance(index, int) or not isinstance(score, (int, float)):
                raise gw.UpstreamTruncatedError("a result has no index or no score")
            events.append(gw.RankedDocument(index, float(score)))
        if isinstance(usage := found.get("usage"), dict):
            events.append(gw.UsageReport(self._reading.meters(usage)))
        return [*events, gw.Finished("stop")]


class ModelsDecoder:
    """The list of models is a bare array; of a probe's answer nothing is wanted."""

    def feed(self, data: bytes) -> list[gw.Event]:
        return []

    def finish(self) -> list[gw.Event]:
        return [gw.Finished("stop")]
