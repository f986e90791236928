"""The options of the conformance kit; nothing else is imported until one is used."""

from pathlib import Path

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("llm-gateway", "conformance of a plugin of the LLM gateway")
    group.addoption(
        "--llm-gateway-plugin",
        metavar="NAME",
        help="run the conformance suites on this plugin (entry point or module)",
    )
    group.addoption(
        "--llm-gateway-cases",
        metavar="DIR",
        help="folder of the plugin's JSON cases (tests/cases if absent)",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Add the suites to what is collected."""
    if config.getoption("--llm-gateway-plugin"):
        config.args.append(str(Path(__file__).parent / "suite" / "provider_suite.py"))
