"""Client of the LLM gateway: `Client`, `AsyncClient`, and what they take and return.

Names load when first used, so that the command line can look at `commands` for nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llm_gateway_sdk.aio import AsyncClient as AsyncClient
    from llm_gateway_sdk.client import Client as Client
    from llm_gateway_sdk.errors import ConnectionFailedError as ConnectionFailedError
    from llm_gateway_sdk.errors import GatewayError as GatewayError
    from llm_gateway_sdk.errors import StreamInterruptedError as StreamInterruptedError
    from llm_gateway_sdk.errors import TimedOutError as TimedOutError
    from llm_gateway_sdk.retry import RetryPolicy as RetryPolicy
    from llm_gateway_sdk.signing import RequestSigning as RequestSigning
    from llm_gateway_sdk.values import ChatChunk as ChatChunk
    from llm_gateway_sdk.values import ChatRequest as ChatRequest
    from llm_gateway_sdk.values import ChatResponse as ChatResponse
    from llm_gateway_sdk.values import Health as Health
    from llm_gateway_sdk.values import Message as Message
    from llm_gateway_sdk.values import Model as Model
    from llm_gateway_sdk.values import Usage as Usage

_HOMES = {
    "AsyncClient": "aio",
    "Client": "client",
    "ConnectionFailedError": "errors",
    "GatewayError": "errors",
    "StreamInterruptedError": "errors",
    "TimedOutError": "errors",
    "RetryPolicy": "retry",
    "RequestSigning": "signing",
    "ChatChunk": "values",
    "ChatRequest": "values",
    "ChatResponse": "values",
    "Health": "values",
    "Message": "values",
    "Model": "values",
    "Usage": "values",
}
__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
