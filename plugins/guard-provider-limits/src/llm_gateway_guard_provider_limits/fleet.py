"""What the workers of one account tell each other they have taken, ten times a second at most.

Nobody waits for it: until the next news a worker takes at most its share of what is left.
"""

import asyncio
import os
import weakref
from collections.abc import Callable, Mapping

import llm_gateway_api as gw
import msgspec

TOPIC = "provider_limits"
NEWS_SECONDS = 0.1
PEER_SECONDS = 60.0
Amounts = tuple[float, float]  # requests, tokens
Told = Callable[[Mapping[str, Amounts]], None]


class News(msgspec.Struct, frozen=True):
    """What `sender` took of each account since it last said so; less than none is given back."""

    sender: str
    accounts: dict[str, Amounts]


class Fleet:
    """The other workers. `told` gets what they have taken, by account."""

    def __init__(
        self, state: gw.StateBackend, workers: int, clock: Callable[[], float], told: Told
    ) -> None:
        self._state = state
        self._workers = workers
        self._clock = clock
        self._self = os.urandom(6).hex()
        self._seen: dict[str, float] = {}
        self._taken: dict[str, list[float]] = {}
        self._timer: asyncio.TimerHandle | None = None
        listener = weakref.WeakMethod(told)  # a guard of an old configuration hears no more
        state.listen(TOPIC, lambda message: self._heard(message, listener()))

    def fits(self, account: str, meter: int, amount: float, spare: float) -> bool:
        """Whether `amount` is within this worker's share; its first in a while always is, as
        none could be taken where less is left than there are workers."""
        peers = max(self._workers, 1 + len(self._seen))
        mine = self._taken.get(account)
        if peers == 1 or mine is None or mine[0] <= 0:
            return True
        return mine[meter] + amount <= (spare + mine[meter]) / peers

    def took(self, account: str, requests: float, tokens: float) -> None:
        mine = self._taken.setdefault(account, [0.0, 0.0])
        mine[0] += requests
        mine[1] += tokens
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(NEWS_SECONDS, self._tell)

    def _tell(self) -> None:
        self._timer = None
        taken, self._taken = self._taken, {}
        accounts = {name: (each[0], each[1]) for name, each in taken.items() if any(each)}
        if accounts:
            self._state.publish(TOPIC, msgspec.json.encode(News(self._self, accounts)))
        old = self._clock() - PEER_SECONDS
        self._seen = {name: at for name, at in self._seen.items() if at > old}

    def _heard(self, message: bytes, told: Told | None) -> None:
        try:
            news = msgspec.json.decode(message, type=News)
        except msgspec.DecodeError:  # of another version
            return
        if told is not None and news.sender != self._self:
            self._seen[news.sender] = self._clock()
            told(news.accounts)
