"""Declares the commands that ask a gateway. Imports nothing that ``--help`` would wait for."""

from llm_gateway_api import CommandSpec, hookimpl


@hookimpl
def llm_gateway_commands() -> list[CommandSpec]:
    return [
        CommandSpec("health", "llm_gateway_sdk.cli:health", "Is the gateway well?"),
        CommandSpec("models", "llm_gateway_sdk.cli:models", "The models that you may use."),
        CommandSpec("chat", "llm_gateway_sdk.cli:chat", "Ask a model one question."),
    ]
