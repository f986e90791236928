"""What answers taught: success and speed of deployments, length of answers, warm prompts."""

from collections import OrderedDict
from dataclasses import dataclass

import llm_gateway_api as gw

MAX_CONVERSATIONS = 20_000
MAX_DEPLOYMENTS = 5_000
SHARE = 0.1  # what the newest answer weighs in a mean
FORGET_SECONDS = 300.0  # a floor is no sentence for life: then it is tried again


@dataclass(slots=True)
class Quality:
    """Moving means of one deployment; seconds to the first content."""

    samples: int = 0
    success: float = 1.0
    seconds: float | None = None
    at: float = 0.0


class Qualities:
    def __init__(self) -> None:
        self._known: OrderedDict[str, Quality] = OrderedDict()

    def add(self, name: str, good: bool, seconds: float | None, now: float) -> None:
        found = self._known.get(name)
        if found is None or now - found.at > FORGET_SECONDS:
            found = self._known[name] = Quality()
            if len(self._known) > MAX_DEPLOYMENTS:
                self._known.popitem(last=False)
        found.samples += 1
        found.at = now
        found.success += (good - found.success) * max(SHARE, 1 / found.samples)
        if seconds is not None:
            before = seconds if found.seconds is None else found.seconds
            found.seconds = before + (seconds - before) * SHARE

    def find(self, name: str, now: float) -> Quality | None:
        found = self._known.get(name)
        return found if found is not None and now - found.at <= FORGET_SECONDS else None


@dataclass(slots=True)
class Warm:
    """How much of a conversation's last prompt a deployment had in its cache."""

    share: float
    at: float


class Warmth:
    """By conversation and deployment, the newest kept."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._known: OrderedDict[bytes, dict[str, Warm]] = OrderedDict()

    def add(self, conversation: bytes, name: str, usage: gw.Usage, now: float) -> None:
        """What was read is warm, and so is what was written for the next time."""
        kept = usage.cache_read + usage.cache_write + usage.cache_write_1h
        share = kept / usage.input_total if usage.input_total else 0.0
        self._known.setdefault(conversation, {})[name] = Warm(share, now)
        self._known.move_to_end(conversation)
        if len(self._known) > MAX_CONVERSATIONS:
            self._known.popitem(last=False)

    def shares(self, conversation: bytes | None, now: float) -> dict[str, float]:
        known = self._known.get(conversation) if conversation is not None else None
        return {
            name: each.share
            for name, each in (known or {}).items()
            if now - each.at <= self._seconds
        }


class Lengths:
    """Mean output tokens of the answers of a model."""

    def __init__(self, default: int) -> None:
        self._default = float(default)
        self._known: OrderedDict[str, float] = OrderedDict()

    def add(self, model: str, tokens: int) -> None:
        before = self._known.get(model, float(tokens))
        self._known[model] = before + (tokens - before) * SHARE
        if len(self._known) > MAX_DEPLOYMENTS:
            self._known.popitem(last=False)

    def expected(self, model: str) -> float:
        return self._known.get(model, self._default)
