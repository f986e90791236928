"""Runs the conformance checks on one plugin; see ``--llm-gateway-plugin``."""

import re
from pathlib import Path

import llm_gateway_api as gw
import pytest

from llm_gateway_testkit import cases, conformance, plugins


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    config = metafunc.config
    spec_of = plugins.kinds(plugins.load(config.getoption("--llm-gateway-plugin")))
    if "case" in metafunc.fixturenames:
        found = [each for each in _cases(config) if each.kind in spec_of]
        metafunc.parametrize(
            ("spec", "case"),
            [(spec_of[each.kind], each) for each in found],
            ids=[f"{each.kind}-{each.name}" for each in found],
        )
    elif "spec" in metafunc.fixturenames:
        metafunc.parametrize("spec", spec_of.values(), ids=spec_of.keys())


def _cases(config: pytest.Config) -> list[cases.Case]:
    chosen = config.getoption("--llm-gateway-cases")
    folder = Path(chosen) if chosen else config.invocation_params.dir / "tests" / "cases"
    if chosen and not folder.is_dir():
        raise pytest.UsageError(f"{folder} is no folder")
    return cases.load(folder)


def test_kind_name(spec: gw.ProviderSpec) -> None:
    """A kind can stand as a key in the configuration."""
    assert re.fullmatch("[a-z][a-z0-9_]*", spec.kind)


def test_settings_are_closed(spec: gw.ProviderSpec) -> None:
    """A kind's settings extend those of every provider, and a typo is an error."""
    assert issubclass(spec.settings, gw.ProviderSettings)
    assert spec.settings.model_config.get("extra") == "forbid"


def test_upstream_request(spec: gw.ProviderSpec, case: cases.Case) -> None:
    """The canonical request becomes exactly the upstream request of the case."""
    conformance.check_upstream(plugins.make(spec, case.settings), case)


def test_reply(spec: gw.ProviderSpec, case: cases.Case) -> None:
    """The scripted reply is read as the case says."""
    conformance.check_reply(plugins.make(spec, case.settings), case)


def test_decoder(spec: gw.ProviderSpec, case: cases.Case) -> None:
    """No split, cut or garbage makes the decoder lie or break."""
    if case.failure is not None:
        pytest.skip("a reply that fails has no events to compare")
    provider = plugins.make(spec, case.settings)

    conformance.check_decoder(conformance.encoded(provider, case).decoder, case.reply)


def test_classify(spec: gw.ProviderSpec, case: cases.Case) -> None:
    """Whatever a vendor answers, it is an error that the kernel knows."""
    conformance.check_classify(plugins.make(spec, case.settings))
