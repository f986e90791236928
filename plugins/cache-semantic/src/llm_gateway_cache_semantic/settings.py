"""``cache.semantic_cache``"""

from llm_gateway_api import Seconds, Section
from pydantic import Field


class SemanticSettings(Section):
    """In force once the section stands in the configuration, beside an exact cache."""

    enabled: bool = Field(default=True, description="false compares nothing")
    similarity_threshold: float = Field(
        default=0.95, ge=0.5, le=1, description="least cosine of two questions"
    )
    model: str | None = Field(
        default=None,
        description="embedding model as provider/model; the first that is known to embed if absent",
    )
    shadow: bool = Field(
        default=False, description="true only counts what would have been answered"
    )
    max_entries: int = Field(default=10_000, ge=1, description="answers that are kept")
    min_words: int = Field(default=3, ge=1, description="words a question needs to be compared")
    timeout_seconds: Seconds = Field(default=2, gt=0, description="seconds to make a vector")
    max_concurrent: int = Field(
        default=64, ge=1, description="vectors that are waited for at once; more are not asked for"
    )
    failure_threshold: int = Field(
        default=3, ge=1, description="failures in a row after which no vector is asked for a while"
    )
    max_pause_seconds: Seconds = Field(
        default=10, gt=0, description="longest time in which no vector is asked for"
    )
