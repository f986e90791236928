"""Messages as Converse turns: who may follow whom, and what may stand beside what.

Every rule looks back only, so that a longer conversation extends the turns of a shorter
one and the vendor's prompt cache holds.
"""

from collections.abc import Sequence
from typing import Any

import llm_gateway_api as gw

from llm_gateway_provider_bedrock.blocks import Block, Blocks

FILLER = "."
DOCUMENT_TEXT = "Attached document."
Turn = dict[str, Any]


def turns(messages: Sequence[gw.Message], blocks: Blocks) -> tuple[list[Block], list[Turn]]:
    """The system blocks and the turns.

    Raises:
        UnsupportedParameterError: nothing is left to send, or the last turn is the
            assistant's and the model takes no prefill.
    """
    start = 0
    system: list[Block] = []
    while start < len(messages) and messages[start].role in ("system", "developer"):
        system += content(messages[start], blocks)
        start += 1
    for block in system:
        if "text" not in block and "cachePoint" not in block:
            raise gw.UnsupportedParameterError(
                "A system message of Bedrock is text only.", param="messages"
            )
    found: list[Turn] = []
    for message in messages[start:]:
        add(found, message, blocks)
    check(found, blocks)
    return system, found


def add(found: list[Turn], message: gw.Message, blocks: Blocks) -> None:
    """Append `message` to the last turn where both have one role, else as a new turn."""
    given = content(message, blocks)
    role = role_of(message, blocks)
    if not given:
        return
    if not found and role == "assistant":
        found.append({"role": "user", "content": [{"text": FILLER}]})
    if not found or found[-1]["role"] != role:
        found.append({"role": role, "content": []})
    place(found, given, blocks)
    if not blocks.documents:
        return
    last = found[-1]["content"]
    if any("document" in each for each in last) and not any("text" in each for each in last):
        last.append({"text": DOCUMENT_TEXT})


def place(found: list[Turn], given: list[Block], blocks: Blocks) -> None:
    """Put `given` into the last turn: results first, apart from what cannot be beside them."""
    if not blocks.tools:  # as in most requests
        found[-1]["content"] += given
        return
    results, others = split(given)
    if results:
        turn = answering(found)
        held, beside = split(turn["content"])
        turn["content"] = [*held, *results]
        if turn is found[-1]:
            others = [*beside, *others]
        else:
            turn["content"] += beside
    if not others:
        return
    if split(found[-1]["content"])[0] and not may_stand_beside(others, blocks):
        found.append({"role": "assistant", "content": [{"text": FILLER}]})
        found.append({"role": "user", "content": []})
    found[-1]["content"] += others


def answering(found: list[Turn]) -> Turn:
    """The turn behind the last calls, where their results belong; else the last turn."""
    for before, turn in zip(reversed(found[:-1]), reversed(found), strict=False):
        if any("toolUse" in block for block in before["content"]):
            return turn
    return found[-1]


def split(given: list[Block]) -> tuple[list[Block], list[Block]]:
    """Tool results with their cache points, and the rest."""
    results: list[Block] = []
    others: list[Block] = []
    for block in given:
        follows = "cachePoint" in block and results and not others
        (results if "toolResult" in block or follows else others).append(block)
    return results, others


def may_stand_beside(others: list[Block], blocks: Blocks) -> bool:
    if blocks.family.alone:
        return False
    return not any("document" in each for each in others)


def role_of(message: gw.Message, blocks: Blocks) -> str:
    if message.role == "assistant":
        return "assistant"
    if message.role in ("system", "developer") and blocks.family.mid_system:
        return "system"
    return "user"  # an instruction in the middle stays where it is


def content(message: gw.Message, blocks: Blocks) -> list[Block]:
    """The blocks of `message`; reasoning comes first in a turn of the assistant."""
    parts = message.parts
    if message.role == "assistant":
        first = tuple(each for each in parts if isinstance(each, gw.ReasoningPart))
        parts = (*first, *(each for each in parts if not isinstance(each, gw.ReasoningPart)))
    given = blocks.of(parts)
    if message.extra:
        blocks.mark(given, message.extra)
    if message.name is not None:
        blocks.dropped.append("messages.name")
    return given


def check(found: list[Turn], blocks: Blocks) -> None:
    if not found:
        raise gw.UnsupportedParameterError(
            "No message is left to send: each text is blank.", param="messages"
        )
    if found[-1]["role"] == "assistant" and not blocks.family.prefill:
        raise gw.UnsupportedParameterError(
            "The model chosen cannot continue a turn of the assistant; end with a user's.",
            param="messages",
        )


def tool_names(found: Sequence[Turn]) -> list[str]:
    """The tools that the turns call, each once, in their order."""
    names = (
        block["toolUse"]["name"]
        for turn in found
        for block in turn["content"]
        if "toolUse" in block
    )
    return list(dict.fromkeys(names))
