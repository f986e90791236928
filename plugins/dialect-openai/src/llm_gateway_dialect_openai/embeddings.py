"""Embeddings: the request as it was asked, the answer as vectors of numbers."""

import base64
import binascii
import struct
from typing import Any

import llm_gateway_api as gw

from llm_gateway_dialect_openai.reading import WholeDecoder, objects, position

NAMES = frozenset({"dimensions", "encoding_format", "user"})


class EmbeddingsDecoder(WholeDecoder):
    def events(self, found: dict[str, Any]) -> list[gw.Event]:
        rows = objects(found, "data")
        if not rows:
            raise gw.UpstreamTruncatedError("the answer holds no embedding")
        events: list[gw.Event] = [
            gw.EmbeddingVector(position(each) if "index" in each else at, vector(each))
            for at, each in enumerate(rows)
        ]
        if isinstance(usage := found.get("usage"), dict):
            events.append(gw.UsageReport(self._reading.meters(usage)))
        return [*events, gw.Finished("stop")]


def vector(row: dict[str, Any]) -> tuple[float, ...]:
    """The numbers of one item: a list, or base64 of little-endian float32."""
    values = row.get("embedding")
    if isinstance(values, str):
        try:
            raw = base64.b64decode(values, validate=True)
            return struct.unpack(f"<{len(raw) // 4}f", raw)
        except (binascii.Error, ValueError, struct.error) as error:
            raise gw.UpstreamTruncatedError("an embedding is no base64 of float32") from error
    if isinstance(values, list) and all(type(each) in (int, float) for each in values):
        return tuple(values)
    raise gw.UpstreamTruncatedError("an embedding is no list of numbers")
