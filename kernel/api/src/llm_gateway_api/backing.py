"""What lies behind the gateway: store, shared state, ledger, catalogue, audit.

Each is a contract that a plugin's object meets, and an offer that other plugins name in
`needs`: ``store``, ``state``, ``ledger``, ``prices``, ``audit``. Where no plugin brings one,
the offer is None, and the plugin that needs it says so or does without.
"""

from collections.abc import Awaitable, Callable, Collection, Generator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

import msgspec

from llm_gateway_api.events import Usage
from llm_gateway_api.pricing import Price
from llm_gateway_api.values import ModelInfo, Target

if TYPE_CHECKING:
    from pydantic import SecretStr

SQLValue: TypeAlias = str | int | bool | bytes | None
SQLParams: TypeAlias = Mapping[str, SQLValue]
SQLRow: TypeAlias = SQLParams | tuple[SQLValue, ...]
NO_PARAMS: SQLParams = MappingProxyType({})
Row: TypeAlias = Mapping[str, SQLValue]


class Queries(Protocol):
    """SQL that both databases take, with parameters as ``:name``.

    Values are text, integers (64 bit), booleans, bytes and null: money is an integer of
    nano-dollars, a time is an integer of Unix milliseconds, a structure is JSON as text.

    Raises:
        MissingTableError: a table or a column is not there; a `StoreError` too.
        StoreError: the database is gone, too slow or refuses; answers 503.
        ConflictError: a constraint does not hold (a name that exists).
    """

    async def fetch(self, sql: str, params: SQLParams = NO_PARAMS) -> list[Row]: ...

    async def execute(self, sql: str, params: SQLParams = NO_PARAMS) -> int:
        """Return how many rows changed."""

    async def execute_many(self, sql: str, rows: Sequence[SQLRow]) -> None:
        """One statement for many rows, all or none. Where the rows are tuples, they have the
        values in the order in which the statement names them, each once."""


class Store(Queries, Protocol):
    """An SQL database. `dialect` is its name (``sqlite``, ``postgresql``); each call is its
    own transaction unless made within `transaction`. Raising answers 503 with
    ``retry-after``, never 401, and never hangs: every call is under a time limit
    but those of a transaction that asks for none.

    What the values of a statement are to blame for is a `ConflictError` or an
    `UnstorableError`; any other error is the database's own, and may pass.
    """

    dialect: str

    def open(self) -> AbstractAsyncContextManager[None]: ...

    def transaction(self, *, limited: bool = True) -> AbstractAsyncContextManager[Queries]:
        """Commits at the end of the block, rolls back when it raises. Where it is not `limited`
        it may take as long as it takes: for migrations, which no request waits for."""

    def lock(self, name: str, seconds: float) -> AbstractAsyncContextManager[None]:
        """Held by one block at a time among all processes of this database.

        Raises:
            StoreError: it was not free within `seconds`.
        """

    async def healthy(self) -> bool: ...


class Take(msgspec.Struct, frozen=True):
    """`amount` out of one bucket named `key`.

    A ``bucket`` holds at most `limit` and refills by `rate` a second. A ``window`` counts up
    to `limit` and is forgotten `seconds` after its first take; a calendar window has its
    start in the key. ``slots`` are at most `limit` at once, each given back, or lost to its
    holder's death after `seconds`. A `limit` of 0 blocks.

    A window that is `filled` begins with what somebody knows of it: where there is none, nothing
    is taken, even by force, and the denial is `unfilled`. Whoever is told so takes what was used
    before by a take that is not `filled`, and asks again: state that was lost is seen so.
    """

    key: str
    amount: int
    limit: int
    kind: Literal["bucket", "window", "slots"] = "bucket"
    rate: float = 0.0
    seconds: float = 60.0
    filled: bool = False


class Grant(msgspec.Struct, frozen=True):
    """What was taken; `remaining` has one number for each take, `token` is the backend's own."""

    takes: tuple[Take, ...]
    remaining: tuple[int, ...]
    token: object = None


class Denial(msgspec.Struct, frozen=True):
    """Nothing was taken, because take number `index` did not fit; it may after
    `retry_after` seconds, or, `unfilled`, has to be filled first."""

    index: int
    retry_after: float
    remaining: tuple[int, ...]
    unfilled: bool = False


class Done:
    """Awaited like anything else; there is nothing to wait for, and no task is needed to."""

    def __await__(self) -> Generator[None, None, None]:
        yield from ()


DONE = Done()


class Turn(Protocol):
    """The turn of the event loop that is under way, with all requests that go a step on in it; a
    plugin gets it with ``needs=("turn",)``. What they need done can be done for all at once."""

    def before_answers(self, work: Callable[[], None]) -> None:
        """Call `work` once, when this turn is over and before what it answers leaves. It is plain
        and quick; raising is logged."""


class StateBackend(Protocol):
    """Counters, claims and news that several workers or hosts share; time is the backend's own.

    An exception means that the state cannot be reached: the caller falls back to its
    declared fail policy.
    """

    def open(self) -> AbstractAsyncContextManager[None]: ...

    async def healthy(self) -> bool: ...

    async def take(self, takes: Sequence[Take], *, force: bool = False) -> Grant | Denial:
        """All takes or none, as one atomic step. `force` takes even what does not fit."""

    def settle(self, grant: Grant, amounts: Sequence[int]) -> Awaitable[None]:
        """Make `amounts` what was really used, in the windows taken from; frees slots. `DONE`
        where that has happened, or happens before the answers of this turn of the event loop
        leave, and for a `take` in this process that finds too little at once."""

    async def used(self, keys: Sequence[str]) -> Sequence[int]:
        """What windows and slots hold now; 0 where nothing is known."""

    async def claim(self, key: str, seconds: float) -> bool:
        """True for the first who claims `key` within `seconds` (a nonce)."""

    def publish(self, topic: str, message: bytes) -> None:
        """News for all workers, this one too; best effort, no await."""

    def listen(self, topic: str, told: Callable[[bytes], None]) -> None: ...


class ModelCatalog(Protocol):
    """What is known of vendors' models, by kind of provider. Plain calls on local data."""

    def models(self, kind: str) -> Sequence[ModelInfo]: ...

    def info(self, kind: str, model: str) -> ModelInfo | None: ...

    def price(self, kind: str, model: str, at: float) -> Price | None:
        """The price that holds at the Unix time `at`; None where it is not known."""


class Prices(Protocol):
    """Offered as ``prices``: the price of a deployment today, from all catalogues."""

    def price(self, target: Target) -> Price | None: ...


class LedgerOpening(msgspec.Struct, frozen=True, tag="begun"):
    """A request that was admitted. `id` is the gateway's own, `at` Unix milliseconds."""

    id: str
    request_id: str
    at: int
    tenant: str | None
    key_id: str | None
    model: str
    operation: str


class LedgerRecord(msgspec.Struct, frozen=True, tag="ended"):
    """How a request ended; the same `id` as its opening, so that both make one record.

    `status` is the client's, ``499`` when it left. `cost_nano` is in nano-dollars, None when
    the price or the usage is unknown; `saved_nano` is what a cache hit would have cost.
    Of an answer that ended before its end `usage` is what it took until then.
    `hedges` counts attempts that were given up because another one answered first;
    `hedge_cost_nano` is what is known or estimated of their cost, no part of `cost_nano`.
    """

    id: str
    request_id: str
    at: int
    tenant: str | None
    key_id: str | None
    model: str
    operation: str
    provider: str | None
    upstream_model: str | None
    region: str | None
    status: int
    error: str | None
    stream: bool
    cache: str | None
    attempts: int
    duration_ms: int
    first_content_ms: int | None
    usage: Usage | None
    cost_nano: int | None
    saved_nano: int | None
    price_version: str | None
    hedges: int = 0
    hedge_cost_nano: int | None = None


class Ledger(Protocol):
    """Keeps every request once, whatever dies. Appends to a local file, no await.

    `begin` raising answers 503 at admission; `end` raising is counted and logged.
    """

    def begin(self, opening: LedgerOpening) -> None: ...

    def end(self, record: LedgerRecord) -> None: ...


class AuditEvent(msgspec.Struct, frozen=True):
    """Something that an auditor must be able to find. `kind` is dotted
    (``auth.refused``, ``key.created``); `detail` holds no secret."""

    at: int
    kind: str
    outcome: Literal["ok", "refused", "failed"]
    actor: str | None = None
    tenant: str | None = None
    subject: str | None = None
    request_id: str | None = None
    peer: str | None = None
    detail: Mapping[str, str] = {}


class Auditor(Protocol):
    """Is told of security and administration; plain and cheap. Raising: the request that
    caused the event is answered with 503, since what cannot be recorded must not happen."""

    def record(self, event: AuditEvent) -> None: ...


# Offered as ``audit``: told to every auditor; does nothing where there is none.
Audit: TypeAlias = Callable[[AuditEvent], None]


class Redactor(Protocol):
    """Hides personal data in a text that is about to be kept (a log, an audit). Plain, and
    safe to call on any thread. Raising: the text is not kept."""

    def redact(self, text: str) -> str: ...


# Offered as ``redact``: all redactors in turn; the text itself where there is none.
Redact: TypeAlias = Callable[[str], str]


class SecretSource(Protocol):
    """Where secrets come from. Asked whenever the configuration is read, at start and at
    each reload, on a thread without an event loop; it may block for a few seconds.

    Raising: what it was asked for is missing, and the error (which shows no value) is part
    of the reason that is told.
    """

    def read(self, names: "Collection[str]") -> "Mapping[str, SecretStr]":
        """The values of those of `names` that it knows. ``NAME@2`` is the second version,
        for a source that keeps versions."""
