"""The answers of one partition, and which of them were asked for alike. Knows no embedding.

Vectors lie in one block that grows by half, so that neither an answer that comes nor one that
goes moves the others. Of a question that is alike to many (forms that differ in a number), only
the likest are looked at: what a look-up costs has a bound.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from llm_gateway_api import CachedAnswer
from numpy.typing import NDArray

Vector = NDArray[np.float32]
FIRST = 8
MOST_LOOKED_AT = 16


@dataclass(slots=True)
class Kept:
    key: str
    tenant: str | None
    text: str
    vector: Vector
    answer: CachedAnswer
    expires: float


class Partition:
    """In the order in which they came; one answer for each key."""

    def __init__(self) -> None:
        self._places: dict[str, int] = {}
        self._kept: list[Kept | None] = []
        self._free: list[int] = []
        self._block: Vector = np.zeros((0, 0), dtype=np.float32)

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[Kept]:
        for place in self._places.values():
            kept = self._kept[place]
            assert kept is not None
            yield kept

    @property
    def numbers(self) -> int:
        """How many have to be multiplied for a comparison."""
        return len(self._kept) * int(self._block.shape[1])

    def put(self, kept: Kept) -> None:
        """Instead of the one with its key. Another length of vectors is another model: what was
        made with the one before can be compared with nothing."""
        self.remove(kept.key)
        if kept.vector.shape[0] != self._block.shape[1]:
            self._places.clear()
            self._kept.clear()
            self._free.clear()
            self._block = np.zeros((FIRST, kept.vector.shape[0]), dtype=np.float32)
        place = self._free.pop() if self._free else len(self._kept)
        if place == len(self._kept):
            self._kept.append(None)
            if place == len(self._block):
                more = np.zeros((max(FIRST, place // 2), self._block.shape[1]), dtype=np.float32)
                self._block = np.concatenate([self._block, more])
        self._places[kept.key], self._kept[place] = place, kept
        self._block[place] = kept.vector

    def remove(self, key: str) -> bool:
        place = self._places.pop(key, None)
        if place is None:
            return False
        self._kept[place] = None
        self._block[place] = 0.0
        self._free.append(place)
        return True

    def oldest(self) -> Kept | None:
        return next(iter(self), None)

    def places(self, vector: Vector, threshold: float) -> list[int]:
        """Where the likest may lie; safe beside changes, which `alike` looks for."""
        block = self._block[: len(self._kept)]
        if block.shape[1] != vector.shape[0]:
            return []
        scores = block @ vector
        places = np.flatnonzero(scores >= threshold)
        if len(places) > MOST_LOOKED_AT:
            most = np.argpartition(-scores[places], MOST_LOOKED_AT)[:MOST_LOOKED_AT]
            places = places[most]
        return [int(each) for each in places]

    def alike(self, vector: Vector, threshold: float, places: list[int], now: float) -> list[Kept]:
        """Of `places`, what is there now, fresh and alike; the likest first."""
        found = []
        for place in places:
            kept = self._kept[place] if place < len(self._kept) else None
            if kept is not None and kept.expires > now and kept.vector.shape == vector.shape:
                score = float(kept.vector @ vector)
                if score >= threshold:
                    found.append((score, kept))
        return [kept for _, kept in sorted(found, key=lambda pair: -pair[0])]
