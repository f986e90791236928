"""How an answer is written: JSON, compressed, with its tenant inside."""

import zlib

import msgspec
from llm_gateway_api import CachedAnswer

FORMAT = 1
LEVEL = 1  # most of the saving at a third of the time of the usual 6


class Kept(msgspec.Struct, frozen=True):
    tenant: str | None
    answer: CachedAnswer


class Meta(msgspec.Struct, frozen=True):
    """What a listing needs; lies beside the value, so that no listing reads answers."""

    tenant: str | None
    asked: str
    provider: str
    model: str
    at: float


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Kept)


def written(tenant: str | None, answer: CachedAnswer) -> bytes:
    return zlib.compress(_encoder.encode(Kept(tenant, answer)), LEVEL)


def read(value: bytes, most: int) -> Kept:
    """Raises `ValueError` for what is no answer, or unpacks to more than `most` bytes."""
    unpacking = zlib.decompressobj()
    try:
        text = unpacking.decompress(value, most)
        if not unpacking.eof:
            raise ValueError("a kept answer is cut, or too big")
        return _decoder.decode(text)
    except zlib.error as error:
        raise ValueError(f"a kept answer cannot be read: {error}") from error
