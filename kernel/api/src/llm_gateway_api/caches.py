"""The contract between the kernel and a cache of answers."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import msgspec

from llm_gateway_api.events import Event
from llm_gateway_api.requests import CanonicalRequest
from llm_gateway_api.routing import Asked


class Lookup(msgspec.Struct, frozen=True):
    """What a cache is asked for. Nothing of it ever serves another `tenant`.

    `key` is exact: a hash over everything that can change the answer. `partition` is one
    over all of that but `text`, the last user text: within it, and nowhere else, texts may
    be compared. `text` is empty where likeness says nothing (pictures, tool results), and
    `partition` where no semantic cache is installed. `tenant` is None for callers without.
    `asked` is what routing saw of the request: `Embed` asks nobody whom it keeps out.
    """

    key: str
    tenant: str | None
    partition: str
    text: str
    request: CanonicalRequest
    asked: Asked | None = None


class CachedAnswer(msgspec.Struct, frozen=True):
    """A complete answer, as its `provider` and `model` gave it at the Unix time `at`.

    `asked` is the model's public name, by which it is listed and cleared. It can be written
    with msgspec and read back.
    """

    events: tuple[Event, ...]
    asked: str
    provider: str
    model: str
    region: str | None
    at: float


class Cache(Protocol):
    """Keeps finished answers. Fails open: an exception is a miss and is counted."""

    async def get(self, lookup: Lookup) -> CachedAnswer | None: ...

    async def put(self, lookup: Lookup, value: CachedAnswer, ttl_seconds: float) -> None: ...


class CacheStats(msgspec.Struct, frozen=True):
    """What a cache holds now; None where it cannot tell, or not for one tenant."""

    entries: int
    bytes: int | None = None
    limit_bytes: int | None = None
    evictions: int | None = None


class CacheEntry(msgspec.Struct, frozen=True):
    """One answer that is kept, without its content; times are Unix seconds."""

    tenant: str | None
    asked: str
    provider: str
    model: str
    at: float
    expires: float
    bytes: int


class CacheSelection(msgspec.Struct, frozen=True):
    """Which answers are meant: of one `tenant` (None: of all), one public model, made
    before the Unix time `before`."""

    tenant: str | None = None
    model: str | None = None
    before: float | None = None

    def has(self, tenant: str | None, asked: str, at: float) -> bool:
        return (
            (self.tenant is None or tenant == self.tenant)
            and (self.model is None or asked == self.model)
            and (self.before is None or at < self.before)
        )


@runtime_checkable
class SupportsCacheAdmin(Protocol):
    """A cache that can be looked into and emptied. Raising: 503."""

    async def stats(self, tenant: str | None) -> CacheStats: ...

    async def entries(self, chosen: CacheSelection, limit: int) -> Sequence[CacheEntry]:
        """At most `limit`, newest first."""

    async def clear(self, chosen: CacheSelection) -> int:
        """Forget what is `chosen`, for good; return how many answers that were."""


class Embed(Protocol):
    """Offered as ``embed``: a text as a vector, by a provider that is configured.

    `model` is ``provider/model``; None takes the first that is known to embed. A call is
    made to that one alone, within `seconds`, and raises what the provider raises. With
    `asked`, the text is that caller's: its permissions and all routing filters (residency)
    hold for the text, too.

    Raises:
        PermissionDeniedError: the text of this caller may not go there; nothing was sent.
    """

    async def __call__(
        self, text: str, model: str | None, seconds: float, asked: Asked | None = None
    ) -> tuple[float, ...]: ...
