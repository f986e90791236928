"""One preferred deployment for each conversation: weighted rendezvous hashing.

Every worker finds the same one without talking to the others, shares follow the weights, and
when a deployment comes or goes only its own conversations move.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import log

import llm_gateway_api as gw

from llm_gateway_routing_affinity.settings import AffinitySettings

MAX_CONVERSATIONS = 20_000
MIN_TOKENS = 1024  # vendors cache no shorter prompts, so their answers show nothing
_MASK = (1 << 64) - 1


@dataclass(slots=True)
class Conversation:
    """When it was met last, and how many answers in a row had nothing cached."""

    at: float
    misses: int = 0


class Affinity:
    """Prefers where a session, or a prompt that begins alike, was before.

    A session stays for good. A prompt's affinity serves the provider's cache alone, so it
    ends when answers show that nothing is cached.
    """

    def __init__(self, settings: AffinitySettings, *, clock: Callable[[], float]) -> None:
        self._settings = settings
        self._headers = tuple(name.lower() for name in settings.session_headers)
        self._clock = clock
        self._known: OrderedDict[bytes, Conversation] = OrderedDict()
        self._seeds: dict[str, int] = {}

    def prefer(self, asked: gw.Asked, candidates: Sequence[gw.Target]) -> Sequence[float] | None:
        key = self._session(asked) or self._prompt(asked)
        if key is None:
            return None
        number = int.from_bytes(key, "big")
        draws = [self._draw(number, each) for each in candidates]
        first = draws.index(max(draws))
        return [0.5 if at == first else 0.0 for at in range(len(candidates))]

    def _draw(self, key: int, target: gw.Target) -> float:
        """The highest of all is drawn with a chance by weight; the same for the same key."""
        if target.weight <= 0:
            return float("-inf")
        seed = self._seeds.get(target.name)
        if seed is None:
            if len(self._seeds) >= MAX_CONVERSATIONS:
                self._seeds.clear()
            seed = self._seeds[target.name] = _number(target.name.encode())
        uniform = (mixed(key ^ seed) + 1) / (_MASK + 2)
        return -target.weight / log(uniform)

    def _session(self, asked: gw.Asked) -> bytes | None:
        for name in self._headers:
            if value := asked.arrival.headers.get(name):
                tenant = asked.arrival.principal.tenant
                return _digest(f"{tenant}\0{value}".encode(errors="surrogateescape"))
        return None

    def _prompt(self, asked: gw.Asked) -> bytes | None:
        key = gw.conversation_key(asked) if self._settings.prompt else None
        if key is None:
            return None
        now, found = self._clock(), self._known.get(key)
        if found is None or now - found.at > self._settings.idle_seconds:
            found = Conversation(now)
        if not asked.rehearsal:
            self._keep(key, found, now)
        return key if found.misses < self._settings.max_misses else None

    def _keep(self, key: bytes, found: Conversation, now: float) -> None:
        found.at = now
        self._known[key] = found
        self._known.move_to_end(key)
        if len(self._known) > MAX_CONVERSATIONS:
            self._known.popitem(last=False)

    # --- what answers show ---------------------------------------------------------------

    def follower(self) -> gw.Guard:
        return Follower(self)

    def answered(self, asked: gw.Asked, usage: gw.Usage) -> None:
        """Cached tokens confirm a prompt's affinity; what was written counts for the next."""
        if not self._settings.prompt or usage.input_total < MIN_TOKENS or self._session(asked):
            return
        key = gw.conversation_key(asked)
        found = self._known.get(key) if key is not None else None
        if found is not None:
            cached = usage.cache_read or usage.cache_write or usage.cache_write_1h
            found.misses = 0 if cached else found.misses + 1


class Follower:
    """Shows the scorer what answers cost."""

    def __init__(self, scorer: Affinity) -> None:
        self._scorer = scorer

    def admit(self, target: gw.Target, asked: gw.Asked) -> gw.Lease:
        return gw.Lease(target, asked)

    def report(self, lease: gw.Lease, outcome: gw.Outcome) -> None:
        assert isinstance(lease.token, gw.Asked)
        whole = outcome.failure is None and not outcome.cancelled
        if whole and outcome.usage is not None:
            self._scorer.answered(lease.token, outcome.usage)


def mixed(number: int) -> int:
    """The finalizer of splitmix64: every bit of `number` moves half of the bits."""
    number = ((number ^ (number >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    number = ((number ^ (number >> 27)) * 0x94D049BB133111EB) & _MASK
    return number ^ (number >> 31)


def _digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=8).digest()


def _number(data: bytes) -> int:
    return int.from_bytes(_digest(data), "big")


_: type[gw.RoutingScorer] = Affinity
__: type[gw.SupportsFollowing] = Affinity
