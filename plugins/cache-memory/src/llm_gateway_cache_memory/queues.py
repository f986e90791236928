"""Which entries stay: S3-FIFO (Yang et al., SOSP 2023), bounded in bytes.

New entries wait in a small queue, a tenth of the whole. What is asked for again there moves
to the main queue, everything else leaves: a scan of questions that come once passes through
the small queue and evicts nothing that is in use. Keys that left early are remembered, so
that one which comes back soon goes to the main queue at once.
"""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass

MOST_HITS = 3
SMALL_SHARE = 10
# An entry's own objects beside its value: the key's text, this object with what it points to,
# its place in a queue (an OrderedDict of CPython keeps a node beside the table).
OVERHEAD_BYTES = 640


@dataclass(slots=True, eq=False)
class Entry:
    """One answer: `value` is JSON, `at` and `ttl_seconds` are in seconds of two clocks:
    the answer's Unix time and what is left on the monotonic `expires`."""

    tenant: str | None
    asked: str
    provider: str
    model: str
    at: float
    ttl_seconds: float
    expires: float
    value: bytes
    hits: int = 0

    @property
    def size(self) -> int:
        return OVERHEAD_BYTES + len(self.value)


class Queues:
    """At most `limit` bytes of entries. Nothing here awaits, so nothing is seen half done."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.bytes = 0
        self.evictions = 0
        self._small: OrderedDict[str, Entry] = OrderedDict()
        self._main: OrderedDict[str, Entry] = OrderedDict()
        self._left: OrderedDict[str, None] = OrderedDict()
        self._small_bytes = 0

    def __len__(self) -> int:
        return len(self._small) + len(self._main)

    def items(self) -> Iterator[tuple[str, Entry]]:
        """A copy, so that entries may come and go meanwhile."""
        yield from [*self._small.items(), *self._main.items()]

    def peek(self, key: str) -> Entry | None:
        return self._small.get(key) or self._main.get(key)

    def get(self, key: str) -> Entry | None:
        """The entry, which was asked for once more."""
        entry = self.peek(key)
        if entry is not None and entry.hits < MOST_HITS:
            entry.hits += 1
        return entry

    def put(self, key: str, entry: Entry) -> bool:
        """Keep `entry`; False where it is too big to be worth what would have to leave."""
        known = self.peek(key)
        self.remove(key)
        if entry.size > self.limit // SMALL_SHARE:
            return False
        if known is not None:
            entry.hits = known.hits
        if key in self._left:
            del self._left[key]
            self._main[key] = entry
        else:
            self._small[key] = entry
            self._small_bytes += entry.size
        self.bytes += entry.size
        while self.bytes > self.limit:
            self._evict()
        return True

    def remove(self, key: str) -> bool:
        entry = self._small.pop(key, None)
        if entry is not None:
            self._small_bytes -= entry.size
        else:
            entry = self._main.pop(key, None)
        if entry is None:
            return False
        self.bytes -= entry.size
        return True

    def _evict(self) -> None:
        """One step: an entry leaves, or moves to where it may stay."""
        if self._small and (self._small_bytes > self.limit // SMALL_SHARE or not self._main):
            key, entry = self._small.popitem(last=False)
            self._small_bytes -= entry.size
            if entry.hits:
                entry.hits = 0
                self._main[key] = entry
                return
            self._remember(key)
        else:
            key, entry = self._main.popitem(last=False)
            if entry.hits:
                entry.hits -= 1
                self._main[key] = entry
                return
        self.bytes -= entry.size
        self.evictions += 1

    def _remember(self, key: str) -> None:
        self._left[key] = None
        while len(self._left) > len(self) + 1:
            self._left.popitem(last=False)
