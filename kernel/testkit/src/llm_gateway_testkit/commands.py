"""Declares ``llm-gateway plugins new``; what it does is loaded when it runs."""

from llm_gateway_api.hookspecs import hookimpl
from llm_gateway_api.specs import CommandSpec


@hookimpl
def llm_gateway_commands() -> list[CommandSpec]:
    load = "llm_gateway_testkit.scaffold:new"
    return [CommandSpec("plugins new", load, "Write a new plugin package, ready for PyPI.")]
