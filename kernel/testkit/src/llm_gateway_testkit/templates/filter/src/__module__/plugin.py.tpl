"""Declares the filter ``{{id}}``.

A request that holds one of the configured words is refused.
"""

import llm_gateway_api as gw
from pydantic import Field

NAME = "{{id}}"
PATH = f"security.{NAME}"


class Settings(gw.Section):
    """Without this section nothing is filtered."""

    enabled: bool = Field(default=True, description="false lets everything pass")
    words: tuple[str, ...] = Field(default=(), description="words that are refused")


class {{Class}}:
    """Sees the canonical request. Fails closed: what it raises refuses the request."""

    def __init__(self, settings: Settings) -> None:
        self._words = tuple(each.lower() for each in settings.words)

    async def inspect(self, seen: gw.Seen) -> gw.Seen | gw.Refusal:
        if not isinstance(seen, gw.Content) or not isinstance(seen.request, gw.ChatRequest):
            return seen
        for message in seen.request.messages:
            if any(self._refuses(part) for part in message.parts):
                return gw.Refusal(
                    400,
                    "rejected_by_{{id}}",
                    "The request holds a word that is not allowed here; leave it out.",
                    param="messages",
                )
        return seen

    def _refuses(self, part: gw.Part) -> bool:
        if isinstance(part, gw.ToolResultPart):
            return any(self._refuses(each) for each in part.parts)
        text = part.text.lower() if isinstance(part, gw.TextPart) else ""
        return any(word in text for word in self._words)


_: type[gw.SecurityFilter] = {{Class}}  # the type checker proves the contract


@gw.hookimpl
def llm_gateway_settings() -> list[gw.SettingsSpec]:
    return [gw.SettingsSpec(PATH, Settings)]


@gw.hookimpl
def llm_gateway_security_filters() -> list[gw.SecurityFilterSpec]:
    return [gw.SecurityFilterSpec(NAME, "content", {{Class}}, settings=PATH)]
