"""What an answer is made of, in canonical form: events and usage, vendor-free."""

from typing import Literal, TypeAlias, final

import msgspec

from llm_gateway_api.requests import Params

FinishReason: TypeAlias = Literal["stop", "length", "tool_calls", "content_filter", "error"]


class _Value(msgspec.Struct, frozen=True):
    """Base of the values below: immutable, compared by content, cheap to make."""


class _Event(_Value, frozen=True, tag=True):
    """Base of the events: each carries its own name where it is written down, and is told from
    the others by its type alone."""


class Usage(_Value, frozen=True):
    """Disjoint meters in tokens; a vendor's total is their sum.

    `input` is fresh input (neither read from nor written to a prompt cache), `output` is
    visible output without `reasoning`. `estimated` marks figures the vendor did not give.
    `billed_input` and `billed_output` are what the vendor charges where it says that this
    differs from what it counted; `search_units` what it charges for a ranking.
    """

    input: int = 0
    cache_read: int = 0
    cache_write: int = 0
    cache_write_1h: int = 0
    audio_input: int = 0
    output: int = 0
    reasoning: int = 0
    audio_output: int = 0
    estimated: bool = False
    billed_input: int | None = None
    billed_output: int | None = None
    search_units: int = 0

    @property
    def input_total(self) -> int:
        return (
            self.input + self.cache_read + self.cache_write + self.cache_write_1h + self.audio_input
        )

    @property
    def output_total(self) -> int:
        return self.output + self.reasoning + self.audio_output

    @property
    def charged(self) -> "Usage":
        """The meters that are paid for: the vendor's own sums where it charges by others."""
        if self.billed_input is None and self.billed_output is None:
            return self
        changes: dict[str, int] = {}
        if self.billed_input is not None:
            changes |= dict.fromkeys(("cache_read", "cache_write", "cache_write_1h"), 0)
            changes["input"] = self.billed_input
        if self.billed_output is not None:
            changes |= {"output": self.billed_output, "reasoning": 0}
        return msgspec.structs.replace(self, **changes)


@final
class Started(_Event, frozen=True, gc=False):
    """The vendor's own `id`, `model` and `created` (Unix seconds) of the answer."""

    id: str | None = None
    model: str | None = None
    created: int | None = None
    extra: Params = {}


@final
class TextDelta(_Event, frozen=True):
    text: str
    index: int = 0
    logprobs: object = None


@final
class ReasoningDelta(_Event, frozen=True):
    """Reasoning shown to the caller; `state` is opaque and comes back in a `ReasoningPart`.
    The kernel adds its maker (`MADE_BY`); a frontend carries all of it."""

    text: str
    index: int = 0
    state: Params = {}


@final
class RefusalDelta(_Event, frozen=True):
    text: str
    index: int = 0


@final
class ToolCallDelta(_Event, frozen=True):
    """A piece of call number `call` (0, 1, 2 … without gaps within one choice).

    The first piece of a call has its `id` and `name`; later ones have `arguments` only.
    `extra` comes back in the `extra` of the call's `ToolCallPart` where the dialect has a
    place for it.
    """

    call: int
    id: str | None = None
    name: str | None = None
    arguments: str = ""
    index: int = 0
    kind: Literal["function", "custom"] = "function"
    extra: Params = {}


@final
class EmbeddingVector(_Event, frozen=True):
    index: int
    values: tuple[float, ...]


@final
class RankedDocument(_Event, frozen=True):
    index: int
    score: float


@final
class Finished(_Event, frozen=True, gc=False):
    """Choice `index` is complete; `raw` is the vendor's own word for the reason."""

    reason: FinishReason
    index: int = 0
    raw: str | None = None


@final
class UsageReport(_Event, frozen=True):
    """Usage so far; a later report replaces an earlier one."""

    usage: Usage


@final
class Unknown(_Event, frozen=True):
    """Something of the answer that has no canonical form, for the client of that dialect."""

    dialect: str
    raw: Params
    index: int = 0


Event: TypeAlias = (
    Started
    | TextDelta
    | ReasoningDelta
    | RefusalDelta
    | ToolCallDelta
    | EmbeddingVector
    | RankedDocument
    | Finished
    | UsageReport
    | Unknown
)

# The first of these commits the answer: until one came, another target may be tried.
CONTENT_EVENTS = (
    TextDelta,
    ReasoningDelta,
    RefusalDelta,
    ToolCallDelta,
    EmbeddingVector,
    RankedDocument,
    Finished,
    Unknown,
)
_CONTENT = frozenset(CONTENT_EVENTS)


def is_content(event: Event) -> bool:
    """Whether `event` carries something of the answer itself (field lesson S5)."""
    # By type, not `isinstance`, which takes a detour for each class of values that it denies.
    if type(event) is TextDelta or type(event) is RefusalDelta:
        return bool(event.text)
    if type(event) is ReasoningDelta:
        return bool(event.text or event.state)
    return type(event) in _CONTENT
