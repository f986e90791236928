"""Runs the conformance checks on the client dialects of one plugin."""

import llm_gateway_api as gw
import pytest

from llm_gateway_testkit import frontcases, plugins
from llm_gateway_testkit.suite.shared import LLM_GATEWAY_SUITE as LLM_GATEWAY_SUITE
from llm_gateway_testkit.suite.shared import cases_folder, plugin_name
from llm_gateway_testkit.suite.shared import label as label


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    config, module = metafunc.config, metafunc.module
    spec_of = plugins.dialects(plugins.load(plugin_name(config, module)))
    if "case" in metafunc.fixturenames:
        rows = frontcases.load(cases_folder(config, module))
        found = [each for each in rows if each.frontend in spec_of]
        metafunc.parametrize(
            ("spec", "case"),
            [(spec_of[each.frontend], each) for each in found],
            ids=[f"{each.frontend}-{each.name}" for each in found],
        )
    elif "spec" in metafunc.fixturenames:
        metafunc.parametrize("spec", spec_of.values(), ids=spec_of.keys())


def test_request(spec: gw.FrontendSpec, case: frontcases.FrontendCase) -> None:
    """The body becomes exactly the canonical request, or is refused naming the field."""
    frontcases.check_request(spec.make(), case)


def test_reply(spec: gw.FrontendSpec, case: frontcases.FrontendCase) -> None:
    """The events become exactly the bytes of the case."""
    frontcases.check_reply(spec.make(), case)


def test_bodies(spec: gw.FrontendSpec, case: frontcases.FrontendCase) -> None:
    """A wrong type, a cut or garbage is a 4xx."""
    frontcases.check_bodies(spec.make(), case)


def test_errors(spec: gw.FrontendSpec) -> None:
    """An error is well-formed whatever it says."""
    frontcases.check_errors(spec.make())
