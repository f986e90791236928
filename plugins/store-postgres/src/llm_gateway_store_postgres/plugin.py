"""Declares the store for PostgreSQL."""

from typing import TYPE_CHECKING

from llm_gateway_api import StoreSpec, hookimpl

if TYPE_CHECKING:
    from llm_gateway_api import DatabaseSettings, Store


@hookimpl
def llm_gateway_stores() -> list[StoreSpec]:
    return [StoreSpec(scheme, make) for scheme in ("postgresql", "postgres")]


def make(settings: "DatabaseSettings") -> "Store":
    from llm_gateway_store_postgres.store import PostgresStore

    return PostgresStore(settings)
