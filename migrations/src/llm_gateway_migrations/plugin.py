"""Declares the gateway's own series of migrations, the commands, and what applies them at start."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from llm_gateway_api import CommandSpec, MigrationSpec, ServiceSpec, hookimpl

if TYPE_CHECKING:
    from llm_gateway_api import DatabaseSettings, Service, Store

SQL = "llm_gateway_migrations.sql"


@hookimpl
def llm_gateway_commands() -> list[CommandSpec]:
    help = "Bring the database's tables up to date, or back."
    return [CommandSpec("migrate", "llm_gateway_migrations.commands:migrate", help)]


@hookimpl
def llm_gateway_migrations() -> list[MigrationSpec]:
    return [MigrationSpec("gateway", SQL)]


@hookimpl
def llm_gateway_services() -> list[ServiceSpec]:
    needs = ("store", "migrations")
    return [ServiceSpec("migrations", service, settings="database", early=True, needs=needs)]


def service(
    settings: "DatabaseSettings", store: "Store | None", migrations: Sequence[MigrationSpec]
) -> "Service | None":
    """What brings the tables up to date at start; None where there is no store."""
    from llm_gateway_migrations.startup import AtStart

    return AtStart(store, migrations, settings.auto_migrate) if store is not None else None
