"""``security.validation``"""

from typing import Literal

from llm_gateway_api import Section
from pydantic import Field

Policy = Literal["allow", "clean", "refuse"]


class ValidationSettings(Section):
    """Shapes are checked always; sizes and numbers once the section stands in the configuration."""

    enabled: bool = Field(default=True, description="false checks nothing, shapes neither")
    counts: bool = Field(
        default=False, description="on once the section is written; false lifts the three limits"
    )
    max_request_size_bytes: int | None = Field(
        default=10 * 2**20, ge=1, description="size of a body; null: server.max_body_bytes alone"
    )
    max_messages: int | None = Field(
        default=100, ge=1, description="messages of a request; null: any number"
    )
    max_message_length: int | None = Field(
        default=100_000, ge=1, description="characters of text in one message; null: any number"
    )
    control_characters: Policy = Field(
        default="allow", description="allow, clean or refuse them (ESC, NUL; not tab, newline)"
    )
    invisible_characters: Policy = Field(
        default="allow", description="allow, clean or refuse them (tags, overrides of direction)"
    )
