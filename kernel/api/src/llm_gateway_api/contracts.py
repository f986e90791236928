"""The contracts between the kernel and a plugin's objects; each says what a failure means.

What holds for every object that a plugin makes, and for the hooks that declare them:

- **Errors.** A hook, a `make` or an `open` that raises sets its plugin aside, and the gateway
  serves without it; it refuses the start where the configuration names the plugin's section, or
  where the error is a `ConfigurationError`. What an exception at a request means, each object's
  contract says: fails open, fails closed, or the next target. A `GatewayError` is told to the
  client with its status and code; any other is a bug of the plugin, logged with its cause.
- **Time.** Importing the module opens nothing and starts nothing. What is not ``async`` runs on
  the event loop and must not block: no I/O, no sleep, no regular expression that backtracks.
  What is ``async`` waits under the request's deadline and may be cancelled at each ``await``.
- **Threads.** All is called on the one thread of its worker's event loop, but for what says
  otherwise; work that blocks goes to ``asyncio.to_thread``. An object is made once for a
  configuration and shared by all requests, so what belongs to a request is not kept on it. Each
  worker process makes its own: what they share is `StateBackend`.
- **Versions.** A plugin depends on ``llm-gateway-api>=0.1,<0.2`` and never on the server or on
  another plugin; one whose range does not fit is set aside. What goes is marked a release before it
  warns (see upgrading), and new members of specs have defaults.
"""

from asyncio import Future
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from decimal import Decimal
from typing import Literal, Protocol, TypeAlias, TypeVar, runtime_checkable

import msgspec

from llm_gateway_api.errors import GatewayError, UpstreamError
from llm_gateway_api.events import Event, Usage
from llm_gateway_api.requests import (
    CanonicalRequest,
    ChatRequest,
    EmbeddingsRequest,
    RequestHead,
    RerankRequest,
)
from llm_gateway_api.routing import Asked
from llm_gateway_api.values import (
    Arrival,
    Headers,
    ModelInfo,
    Outcome,
    ParameterOutcome,
    Refusal,
    Target,
)

T = TypeVar("T")
BODY_SEPARATOR = b"\x1e"  # as in RFC 7464: no JSON text holds it


class Decoder(Protocol):
    """Turns the bytes of one answer, streamed or not, into events; knows no socket.

    What it raises is a fault of the upstream: the next target before the commit point, an
    error frame after. A vendor's error inside the stream is raised as `UpstreamError`.
    """

    def feed(self, data: bytes) -> list[Event]:
        """Return the events that `data` completes."""

    def finish(self) -> list[Event]:
        """The body ended: return what is left, or raise `UpstreamTruncatedError`."""


class DecoderFactory(Protocol):
    def __call__(self) -> Decoder: ...


class UpstreamRequest(msgspec.Struct, frozen=True):
    """One HTTP call to a provider. The destination comes from configuration alone.

    `decoder` makes the decoder of its answer: what encoded a request knows in which form
    the answer comes. `stream` says that the body is asked for as a stream. `dropped` names
    the parameters that were left out, for ``x-gateway-dropped``.

    `then` are further calls of the same attempt, for a vendor that takes less at once than a
    client may ask (texts to embed); never of a stream. They are made in their order, and the
    one decoder reads their bodies parted by `BODY_SEPARATOR`.
    """

    method: str
    url: str
    headers: Headers
    body: bytes
    decoder: DecoderFactory
    stream: bool = False
    dropped: tuple[str, ...] = ()
    then: tuple["UpstreamRequest", ...] = ()


class Provider(Protocol):
    """Speaks a vendor's format. Opens nothing, awaits nothing, keeps no state of a request.

    An exception that is no `GatewayError` is a bug of the plugin: the next target is tried.
    """

    def encode(self, request: ChatRequest) -> UpstreamRequest:
        """Translate; `request.model` is already the upstream's own name.

        Raises:
            UnsupportedParameterError: the model cannot take what would change the answer.
        """

    def classify(self, status: int, headers: Headers, body: bytes) -> UpstreamError:
        """Return the error that an answer with a status of 400 and more means."""

    def models(self) -> Sequence[ModelInfo]:
        """The models this instance is configured or known to serve; may be empty."""


@runtime_checkable
class SupportsEmbeddings(Protocol):
    def encode_embeddings(self, request: EmbeddingsRequest) -> UpstreamRequest:
        """Like `Provider.encode`; the decoder yields `EmbeddingVector` events."""


@runtime_checkable
class SupportsRerank(Protocol):
    def encode_rerank(self, request: RerankRequest) -> UpstreamRequest:
        """Like `Provider.encode`; the decoder yields `RankedDocument` events."""


@runtime_checkable
class SupportsCountTokens(Protocol):
    def encode_count(self, request: ChatRequest) -> UpstreamRequest:
        """Ask the vendor how many tokens `request` is; the decoder yields one `UsageReport`
        whose `input` is the count, then `Finished`. Without it the kernel estimates."""


# How a model takes the text of a last assistant message: its answer goes on behind it, or begins
# with it once more.
Prefill: TypeAlias = Literal["continues", "repeats"]


@runtime_checkable
class SupportsPrefill(Protocol):
    def prefill(self, request: ChatRequest) -> Prefill | None:
        """What `request.model` does with a text that the answer to `request` shall begin with,
        handed over as a last message of the assistant; None where it takes none (the model,
        or what the request asks beside it)."""


@runtime_checkable
class SupportsInline(Protocol):
    """A vendor that takes no address of a picture or document: the kernel fetches what
    `inlines` says, under the egress guard, and hands over base64 `data` in its place. On
    the relay lane the body passes as it is. What cannot be had is the caller's 400."""

    def inlines(self, kind: str, url: str) -> bool:
        """`kind` is the part's tag (``image``, ``file``)."""


@runtime_checkable
class SupportsCredentials(Protocol):
    async def auth_headers(self) -> Headers:
        """Headers that carry the credential, refreshed when due. Raising: the next target."""


@runtime_checkable
class SupportsSigning(Protocol):
    def sign(self, request: UpstreamRequest) -> UpstreamRequest:
        """Return `request` with its signature; called last, for each attempt."""


class RefusedCall(msgspec.Struct, frozen=True):
    """A call that was answered with a status of 400 and more. `request` is what the provider
    encoded, `sent` the headers that went out with it, the credential among them."""

    request: UpstreamRequest
    sent: Headers
    status: int
    headers: Headers
    body: bytes


@runtime_checkable
class SupportsSecondTry(Protocol):
    """A provider that can mend some refusals itself: a token that was revoked before its time,
    a state that the vendor no longer reads."""

    def again(self, refused: RefusedCall) -> UpstreamRequest | None:
        """What to ask in its place, at once; None: the refusal stands.

        `refused.request` itself asks the same under what `auth_headers` and `sign` give now.
        The kernel asks once for each call and never for the second answer, which stands; the
        first is no attempt, no failure and no retry. Not called on a refusal that was mended.
        Raising is a bug of the plugin: the next target is tried.
        """


@runtime_checkable
class SupportsProbe(Protocol):
    def probe(self) -> UpstreamRequest:
        """A request that costs no tokens and answers 2xx when the provider is well."""


@runtime_checkable
class DirectProvider(Protocol):
    """An engine that is not HTTP; the kernel consumes its events under the same deadlines."""

    def stream(self, request: CanonicalRequest) -> AsyncIterator[Event]: ...

    def models(self) -> Sequence[ModelInfo]: ...


class Lane(Protocol):
    """What stands between the provider's bytes and the client's, for one attempt.

    `committed` turns True with the first content event. Errors are those of `Decoder`.
    """

    committed: bool
    usage: Usage | None
    finish_reason: str | None

    def feed(self, data: bytes) -> bytes:
        """Return the bytes for the client that `data` completes; may be empty."""

    def finish(self) -> bytes:
        """The upstream's body ended; return the rest, or raise."""


@runtime_checkable
class SupportsSaid(Protocol):
    """A lane that passes bytes unread and can tell afterwards how much of them is an answer.

    Asked once, for a stream that ended before its vendor had counted it. Without it the
    kernel goes by the number of bytes alone.
    """

    def said(self, data: bytes) -> int:
        """Bytes (UTF-8) of text, reasoning and calls in `data`, a part of the provider's
        stream that may begin and end within an event."""


@runtime_checkable
class SupportsRelay(Protocol):
    """A provider whose dialect some client speaks: bytes pass, only a tee reads them."""

    def relays(self, dialect: str) -> bool: ...

    def splice(self, head: RequestHead, model: str) -> UpstreamRequest | None:
        """The client's own body with the model's name exchanged; None: translate this one."""

    def tee(self, head: RequestHead, model: str) -> Lane:
        """Reads usage, finish reason and errors; exchanges the model's name if it differs."""


class Renderer(Protocol):
    """Writes one answer in the client's dialect, streamed or not. Raising: 500."""

    def render(self, events: Sequence[Event]) -> bytes: ...

    def finish(self) -> bytes: ...


class Frontend(Protocol):
    """A client dialect. Raising what is no `GatewayError`: 500."""

    def parse(self, body: bytes, arrival: Arrival) -> RequestHead:
        """Read the head. Raises `MalformedBodyError` naming the field."""

    def request(self, head: RequestHead) -> CanonicalRequest:
        """Decode the whole body; called on the translate lane only, at most once."""

    def renderer(self, head: RequestHead) -> Renderer: ...

    def error(self, error: GatewayError, request_id: str) -> bytes:
        """The body of an error answer."""

    def error_frame(self, error: GatewayError, request_id: str) -> bytes:
        """The last frame of a stream that failed after its start."""

    def keep_alive(self) -> bytes:
        """Bytes that are no event, for a stream that is silent."""


class Lease(msgspec.Struct, frozen=True):
    """A place that a guard gave; handed back with `Guard.report`."""

    target: Target
    token: object = None

    def held(self, kind: type[T]) -> T:
        """`token`, which the guard that gave the lease made: one of `kind`."""
        assert isinstance(self.token, kind)
        return self.token


class Guard(Protocol):
    """Admits attempts to a target. Raising skips the target, as a refusal does."""

    def admit(self, target: Target, asked: Asked) -> Lease | Refusal | Future[Lease | Refusal]:
        """A future is a place in a queue: the kernel cancels it when it waits no longer."""

    def report(self, lease: Lease, outcome: Outcome) -> None:
        """Every lease comes back once, when the last byte of the answer is through. An outcome
        that is `cancelled` and has no `duration` was never sent. Raising is logged."""


@runtime_checkable
class SupportsAnswered(Protocol):
    """A guard that is also told when a stream's first content came, long before its report."""

    def answered(self, lease: Lease, headers: Headers) -> None:
        """`headers` are those of the provider's answer. Raising is logged."""


class Reservation(msgspec.Struct, frozen=True):
    """What a limiter took; `headers` go to the client (``x-ratelimit-…``)."""

    token: object = None
    headers: Headers = {}


class Settlement(msgspec.Struct, frozen=True):
    """What a request came to: `usage` and `cost` (USD) are None where they are not known,
    `target` is None where no deployment was asked (a refusal, a cache hit). `answered` says
    that content came of it, so that something is owed whatever is known of the usage; `whole`
    that the answer came to its end: of one that did not, nothing is learned about others."""

    target: Target | None
    usage: Usage | None
    cost: Decimal | None
    answered: bool = True
    whole: bool = True


class Limiter(Protocol):
    """Takes all buckets of a request or none. Raising: its spec's fail policy."""

    async def reserve(
        self, asked: Asked, head: RequestHead, candidates: Sequence[Target]
    ) -> Reservation | Refusal:
        """`candidates` are the deployments that the request itself may go to, in no order, empty
        where there is none; what a policy may add after a failure is not among them."""

    def settle(self, reservation: Reservation, settlement: Settlement) -> Awaitable[None]:
        """The request is over. What there is to wait for (`DONE`: nothing) goes on beside the
        next ones, for a few seconds at most. Raising is logged."""


@runtime_checkable
class SupportsCover(Protocol):
    """A limiter whose reservation depends on who answers. Raising: its spec's fail policy.

    Asked before every attempt but the first, which may be at a deployment that nobody could
    foresee when the request was admitted: a fallback.
    """

    async def cover(self, reservation: Reservation, target: Target) -> Reservation | Refusal:
        """`reservation`, or one in its place that is enough for `target`. After a refusal
        `target` is passed over, and what was reserved stays."""


class Observer(Protocol):
    """Is told; cheap and plain. Raising is counted and dropped."""

    def started(self, arrival: Arrival) -> None: ...

    def attempt(self, arrival: Arrival, target: Target, outcome: Outcome) -> None: ...

    def first_content(self, arrival: Arrival, target: Target) -> None: ...

    def finished(self, arrival: Arrival, outcome: Outcome) -> None: ...


@runtime_checkable
class Service(Protocol):
    """What lives long: pools, tasks. A crash fails readiness and not the gateway.

    Whatever a plugin makes (a cache, a limiter, a store) may have `open` too: the kernel
    opens it in a task of its own before the first request, and closes it after the last.
    Raising `ConfigurationError` while it opens refuses the start (or the reload); anything
    else sets its plugin aside, unless the configuration names it.
    """

    def open(self) -> AbstractAsyncContextManager[None]: ...


class Catalog(Protocol):
    """The models of this configuration; a plugin gets it with ``needs=("catalog",)``."""

    def visible(self, arrival: Arrival) -> Sequence[tuple[str, str, ModelInfo]]:
        """(public name, provider, what is known) of each model the caller may use."""

    def parameters(self, provider: str, model: str) -> Mapping[str, ParameterOutcome]:
        """By the name of each parameter of a chat; empty where it is not known."""
