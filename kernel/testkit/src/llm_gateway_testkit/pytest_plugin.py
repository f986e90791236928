"""The options of the conformance kit; nothing else is imported until one is used."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from llm_gateway_testkit.report import Report

SUITES = ("provider_suite.py", "frontend_suite.py")


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
    group.addoption(
        "--llm-gateway-report",
        metavar="FILE",
        help="write a level for each capability, as JSON or (.md) as a table",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Add the suites to what is collected."""
    config.pluginmanager.register(_Reporter(config), "llm-gateway-report")
    if config.getoption("--llm-gateway-plugin"):
        folder = Path(__file__).parent / "suite"
        config.args += [str(folder / each) for each in SUITES]


class _Reporter:
    """Counts what the suites show; costs nothing where none of them runs."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._report: Report | None = None

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo[Any]) -> Any:
        outcome = yield
        params = getattr(getattr(item, "callspec", None), "params", {})
        kit = getattr(item, "module", None)
        ours = "spec" in params and getattr(kit, "LLM_GATEWAY_SUITE", False)
        if ours and (outcome.when == "call" or outcome.failed):
            self._take(params, kit, outcome)
        return outcome

    def _take(self, params: dict[str, Any], kit: Any, outcome: pytest.TestReport) -> None:
        from llm_gateway_testkit.report import Report, capabilities

        self._report = self._report or Report()
        spec, case = params["spec"], params.get("case")
        name = kit.plugin_name(self._config, kit)
        self._report.claim(name, kit.label(spec), getattr(spec, "surfaces", ()))
        if case is not None and not outcome.skipped:
            shown = capabilities(case) if hasattr(case, "kind") else {"dialect"}
            self._report.take(kit.label(spec), shown, case.name, outcome.passed)

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        if self._report is None:
            return
        file = self._config.getoption("--llm-gateway-report")
        if file:
            told = self._report.markdown() if file.endswith(".md") else self._report.json()
            Path(file).write_text(told, encoding="utf-8")
        if file or self._config.getoption("--llm-gateway-plugin"):
            terminalreporter.section("conformance")
            for line in self._report.text():
                terminalreporter.write_line(line)
