"""The messages of a canonical request as ``system`` and alternating turns.

The vendor wants all results of a turn's calls first in the very next user turn, no empty
text and no two turns of one role. A system message behind the first turn stays where it is,
so that each further turn extends the bytes of the one before (prompt caches compare them).
"""

from collections.abc import Sequence
from typing import Any

import llm_gateway_api as gw

from llm_gateway_provider_anthropic.blocks import Block, block
from llm_gateway_provider_anthropic.profiles import Profile

LEADING = ("system", "developer")


class Turn:
    """A turn in the making. `results` go before the other blocks."""

    def __init__(self, role: str) -> None:
        self.role = role
        self.results: list[Block] = []
        self.others: list[Block] = []

    @property
    def content(self) -> list[Block]:
        return self.results + self.others


def system(messages: Sequence[gw.Message], dialect: str) -> tuple[list[Block], int]:
    """The leading system messages as blocks, and how many they are."""
    found: list[Block] = []
    for count, each in enumerate(messages):
        if each.role not in LEADING:
            return found, count
        found += instructions(each, dialect)
    return found, len(messages)


def instructions(message: gw.Message, dialect: str) -> list[Block]:
    for each in message.parts:
        if not isinstance(each, gw.TextPart):
            raise gw.UnsupportedParameterError(
                "A system message can hold text only.", param="messages"
            )
    return _blocks(message, dialect)


def turns(messages: Sequence[gw.Message], takes: Profile, dialect: str) -> list[dict[str, Any]]:
    """The turns after the leading system messages, ready for the body."""
    made: list[Turn] = []
    for each in messages:
        _add(made, each, takes, dialect)
    _check_results(made)
    _check_end(made, takes)
    return [{"role": each.role, "content": each.content} for each in made]


def _add(made: list[Turn], message: gw.Message, takes: Profile, dialect: str) -> None:
    if message.role == "tool":
        for part in message.parts:
            if (found := block(part, dialect)) is None:
                continue
            result = isinstance(part, gw.ToolResultPart)
            turn = _answering(made) if result else _turn(made, "user")
            (turn.results if result else turn.others).append(found)
        return
    role: str = message.role
    if role in LEADING:
        blocks = instructions(message, dialect)
        role = "system" if takes.mid_system and made and made[-1].role != "assistant" else "user"
    else:
        blocks = _blocks(message, dialect)
    if blocks:
        _turn(made, role).others += blocks


def _turn(made: list[Turn], role: str) -> Turn:
    """The last turn if it is one of `role`, else a new one."""
    if not made or made[-1].role != role:
        made.append(Turn(role))
    return made[-1]


def _answering(made: list[Turn]) -> Turn:
    """The user turn after the last calls, whatever was said since."""
    for turn in reversed(made):
        if turn.role == "user":
            return turn
        if turn.role == "assistant":
            break
    return _turn(made, "user")


def _blocks(message: gw.Message, dialect: str) -> list[Block]:
    made = [block(each, dialect) for each in message.parts]
    return [each for each in made if each is not None]


def _check_results(made: Sequence[Turn]) -> None:
    """Each call has its result in the next user turn, and each result its call."""
    open_calls: list[str] = []
    for turn in made:
        if turn.role == "system":
            continue
        answered = [each["tool_use_id"] for each in turn.results]
        for each in answered:
            if each not in open_calls:
                raise _unpaired(f"the tool result {each!r} answers no call of the turn before it")
        for each in open_calls:
            if each not in answered:
                raise _unpaired(f"the call {each!r} has no result in the turn after it")
        open_calls = [each["id"] for each in turn.others if each.get("type") == "tool_use"]
    if open_calls:
        raise _unpaired(f"the call {open_calls[0]!r} has no result in the turn after it")


def _unpaired(what: str) -> gw.UnsupportedParameterError:
    return gw.UnsupportedParameterError(
        f"In 'messages' {what}.", param="messages", code="invalid_body"
    )


def _check_end(made: Sequence[Turn], takes: Profile) -> None:
    if not made:
        raise gw.UnsupportedParameterError(
            "'messages' must hold a user message with content.", param="messages"
        )
    last = made[-1]
    if last.role != "assistant":
        return
    if not takes.prefill:
        raise gw.UnsupportedParameterError(
            "This model does not support assistant message prefill. The conversation must end "
            "with a user message.",
            param="messages",
            code="unsupported_value",
        )
    if last.others and last.others[-1].get("type") == "text":
        last.others[-1] = {**last.others[-1], "text": last.others[-1]["text"].rstrip()}


def replays_thought(made: Sequence[dict[str, Any]]) -> bool:
    """Whether the last assistant turn, if it called tools, shows the thoughts before them."""
    for turn in reversed(made):
        if turn["role"] == "assistant":
            kinds = {each.get("type") for each in turn["content"]}
            return "tool_use" not in kinds or bool(kinds & {"thinking", "redacted_thinking"})
    return True
