"""Declares the catalogue and the rows that an operator may add."""

from typing import TYPE_CHECKING

from llm_gateway_api import CatalogSpec, SettingsSpec, hookimpl

if TYPE_CHECKING:
    from llm_gateway_api import ModelCatalog

    from llm_gateway_catalog_models.settings import CatalogSettings

PATH = "plugins.catalog_models"


@hookimpl
def llm_gateway_settings() -> list[SettingsSpec]:
    from llm_gateway_catalog_models.settings import CatalogSettings

    return [SettingsSpec(PATH, CatalogSettings)]


@hookimpl
def llm_gateway_catalogs() -> list[CatalogSpec]:
    return [CatalogSpec("models", make, PATH)]


def make(settings: "CatalogSettings") -> "ModelCatalog":
    from llm_gateway_catalog_models.catalog import Catalog
    from llm_gateway_catalog_models.rows import ROWS

    rows = {kind: list(each) for kind, each in ROWS.items()}
    for own in settings.models:
        rows.setdefault(own.kind, []).append(own.row())
    return Catalog(rows)
