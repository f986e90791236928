"""The settings under ``resilience.continuation``."""

import llm_gateway_api as gw
from pydantic import Field


class ContinuationSettings(gw.Section):
    """Settings under ``resilience.continuation``; without the section nothing is continued."""

    enabled: bool = Field(default=True, description="false continues nothing")
    max_continuations: int = Field(
        default=1, ge=1, le=10, description="further attempts at one stream that broke"
    )
    models: frozenset[str] | None = Field(
        default=None, description="public names of the models that are continued; all if absent"
    )
    except_tenants: frozenset[str] = Field(
        default=frozenset(), description="tenants whose streams are not continued"
    )
    except_keys: frozenset[str] = Field(
        default=frozenset(), description="ids of keys whose streams are not continued"
    )
