"""Client of the LLM gateway: `Client`, `AsyncClient`, and what they take and return.

Names load when first used, so that the command line can look at `commands` for nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llm_gateway_sdk.admin import Admin as Admin
    from llm_gateway_sdk.admin import AsyncAdmin as AsyncAdmin
    from llm_gateway_sdk.admin_values import AuditRecord as AuditRecord
    from llm_gateway_sdk.admin_values import CacheEntry as CacheEntry
    from llm_gateway_sdk.admin_values import CacheStats as CacheStats
    from llm_gateway_sdk.admin_values import CostRow as CostRow
    from llm_gateway_sdk.admin_values import Key as Key
    from llm_gateway_sdk.admin_values import LatencyRow as LatencyRow
    from llm_gateway_sdk.admin_values import Limits as Limits
    from llm_gateway_sdk.admin_values import NewKey as NewKey
    from llm_gateway_sdk.admin_values import NewTenant as NewTenant
    from llm_gateway_sdk.admin_values import Tenant as Tenant
    from llm_gateway_sdk.admin_values import TokenRow as TokenRow
    from llm_gateway_sdk.aio import AsyncChatStream as AsyncChatStream
    from llm_gateway_sdk.aio import AsyncClient as AsyncClient
    from llm_gateway_sdk.client import ChatStream as ChatStream
    from llm_gateway_sdk.client import Client as Client
    from llm_gateway_sdk.errors import ConnectionFailedError as ConnectionFailedError
    from llm_gateway_sdk.errors import GatewayError as GatewayError
    from llm_gateway_sdk.errors import StreamInterruptedError as StreamInterruptedError
    from llm_gateway_sdk.errors import TimedOutError as TimedOutError
    from llm_gateway_sdk.retry import NO_RETRY as NO_RETRY
    from llm_gateway_sdk.retry import RetryPolicy as RetryPolicy
    from llm_gateway_sdk.signing import RequestSigning as RequestSigning
    from llm_gateway_sdk.values import ChatChunk as ChatChunk
    from llm_gateway_sdk.values import ChatRequest as ChatRequest
    from llm_gateway_sdk.values import ChatResponse as ChatResponse
    from llm_gateway_sdk.values import Embedding as Embedding
    from llm_gateway_sdk.values import EmbeddingRequest as EmbeddingRequest
    from llm_gateway_sdk.values import EmbeddingResponse as EmbeddingResponse
    from llm_gateway_sdk.values import FunctionCall as FunctionCall
    from llm_gateway_sdk.values import Health as Health
    from llm_gateway_sdk.values import Message as Message
    from llm_gateway_sdk.values import Model as Model
    from llm_gateway_sdk.values import RerankRequest as RerankRequest
    from llm_gateway_sdk.values import RerankResponse as RerankResponse
    from llm_gateway_sdk.values import RerankResult as RerankResult
    from llm_gateway_sdk.values import Served as Served
    from llm_gateway_sdk.values import ToolCall as ToolCall
    from llm_gateway_sdk.values import Usage as Usage

_HOMES = {
    "AsyncClient": "aio",
    "AsyncChatStream": "aio",
    "Client": "client",
    "ChatStream": "client",
    "Admin": "admin",
    "AsyncAdmin": "admin",
    "AuditRecord": "admin_values",
    "CacheEntry": "admin_values",
    "CacheStats": "admin_values",
    "CostRow": "admin_values",
    "Key": "admin_values",
    "LatencyRow": "admin_values",
    "Limits": "admin_values",
    "NewKey": "admin_values",
    "NewTenant": "admin_values",
    "Tenant": "admin_values",
    "TokenRow": "admin_values",
    "ConnectionFailedError": "errors",
    "GatewayError": "errors",
    "StreamInterruptedError": "errors",
    "TimedOutError": "errors",
    "NO_RETRY": "retry",
    "RetryPolicy": "retry",
    "RequestSigning": "signing",
    "ChatChunk": "values",
    "ChatRequest": "values",
    "ChatResponse": "values",
    "Embedding": "values",
    "EmbeddingRequest": "values",
    "EmbeddingResponse": "values",
    "FunctionCall": "values",
    "Health": "values",
    "Message": "values",
    "Model": "values",
    "RerankRequest": "values",
    "RerankResponse": "values",
    "RerankResult": "values",
    "Served": "values",
    "ToolCall": "values",
    "Usage": "values",
}
__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
