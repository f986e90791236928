"""Declares the embedded store."""

from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from llm_gateway_api import ConfigurationError, StoreSpec, hookimpl

if TYPE_CHECKING:
    from llm_gateway_api import DatabaseSettings, Store

FILE = "gateway.db"


@hookimpl
def llm_gateway_stores() -> list[StoreSpec]:
    return [StoreSpec("sqlite", make, embedded=True, needs=("data_dir",))]


def make(settings: "DatabaseSettings", data_dir: Path) -> "Store":
    """The store at ``database.url``, or in the data directory where there is none."""
    from llm_gateway_store_sqlite.store import SqliteStore

    return SqliteStore(located(settings.url, data_dir), settings.timeout_seconds)


def located(url: str | None, data_dir: Path) -> Path:
    """``sqlite:///relative.db`` lies in the data directory, ``sqlite:////absolute.db`` does not.

    Raises:
        ConfigurationError: the URL names no file.
    """
    if not url:
        return data_dir / FILE
    parts = urlsplit(url)
    path = unquote(parts.path)[1:]
    if parts.netloc or not path:
        raise ConfigurationError("database.url: write sqlite:///FILE or sqlite:////ABSOLUTE/FILE.")
    return data_dir / path
