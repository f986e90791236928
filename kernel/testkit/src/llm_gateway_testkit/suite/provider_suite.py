"""Runs the conformance checks on one plugin; see ``--llm-gateway-plugin``."""

import re

import llm_gateway_api as gw
import pytest

from llm_gateway_testkit import cases, conformance, direct, invariants, plugins
from llm_gateway_testkit.suite.shared import LLM_GATEWAY_SUITE as LLM_GATEWAY_SUITE
from llm_gateway_testkit.suite.shared import cases_folder, plugin_name
from llm_gateway_testkit.suite.shared import label as label


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    config, module = metafunc.config, metafunc.module
    spec_of = plugins.kinds(plugins.load(plugin_name(config, module)))
    if "case" in metafunc.fixturenames:
        loaded = cases.load(cases_folder(config, module))
        strange = {each.kind for each in loaded} - spec_of.keys()
        if spec_of and strange and (unknown := strange - plugins.installed_kinds()):
            raise pytest.UsageError(
                f"cases of the kind {', '.join(sorted(unknown))}, which no installed plugin brings;"
                f" this one brings {', '.join(spec_of)}"
            )
        found = [each for each in loaded if each.kind in spec_of]
        metafunc.parametrize(
            ("spec", "case"),
            [(spec_of[each.kind], each) for each in found],
            ids=[f"{each.kind}-{each.name}" for each in found],
        )
    elif "spec" in metafunc.fixturenames:
        metafunc.parametrize("spec", spec_of.values(), ids=spec_of.keys())


def http(spec: gw.ProviderSpec, case: cases.Case) -> gw.Provider:
    made: gw.Provider = plugins.make(spec, case.settings)
    if not hasattr(made, "encode"):
        pytest.skip("an engine that is not HTTP")
    return made


def answered(case: cases.Case) -> None:
    if case.failure is not None or case.refusal is not None:
        pytest.skip("nothing is answered here")


def chat_turn(case: cases.Case) -> gw.ChatRequest:
    answered(case)
    if not isinstance(case.request, gw.ChatRequest):
        pytest.skip("no turn of a chat")
    return case.request


def test_kind_name(spec: gw.ProviderSpec) -> None:
    """A kind can stand as a key in the configuration."""
    assert re.fullmatch("[a-z][a-z0-9_]*", spec.kind)


def test_settings_are_closed(spec: gw.ProviderSpec) -> None:
    """A kind's settings extend those of every provider, and a typo is an error."""
    assert issubclass(spec.settings, gw.ProviderSettings)
    assert spec.settings.model_config.get("extra") == "forbid"


def test_settings_are_described(spec: gw.ProviderSpec) -> None:
    """Every key says what it means; a secret has a type that does not print."""
    assert issubclass(spec.settings, gw.ProviderSettings)
    for name, field in spec.settings.model_fields.items():
        assert field.description, f"{name} has no description"
        if name.endswith(("_key", "_secret", "_token", "password")):
            assert "Secret" in str(field.annotation), f"{name} is no SecretStr"


def test_upstream_request(spec: gw.ProviderSpec, case: cases.Case) -> None:
    """The canonical request becomes exactly the upstream request of the case."""
    conformance.check_upstream(http(spec, case), case)


def test_reply(spec: gw.ProviderSpec, case: cases.Case) -> None:
    """The scripted reply is read as the case says."""
    if case.refusal is not None:
        pytest.skip("nothing was asked")
    conformance.check_reply(http(spec, case), case)


def test_decoder(spec: gw.ProviderSpec, case: cases.Case) -> None:
    """No split, cut or garbage makes the decoder lie or break."""
    answered(case)
    provider = http(spec, case)

    conformance.check_decoder(conformance.encoded(provider, case).decoder, case.reply)


def test_prefix(spec: gw.ProviderSpec, case: cases.Case) -> None:
    """The next turn extends what was sent of this one."""
    request = chat_turn(case)
    if case.operation:
        pytest.skip("no turn of a chat")
    invariants.check_prefix(http(spec, case), request)


def test_unknown(spec: gw.ProviderSpec, case: cases.Case) -> None:
    """A field that nobody knows survives or is reported."""
    request = chat_turn(case)
    invariants.check_unknown(http(spec, case), request)


def test_unknown_inside(spec: gw.ProviderSpec, case: cases.Case) -> None:
    """A member that no table names, within a turn, a part, a call or a tool, never gets lost in
    silence."""
    request = chat_turn(case)
    if case.operation:
        pytest.skip("no turn of a chat")
    invariants.check_unknown_inside(http(spec, case), request)


def test_foreign_tool(spec: gw.ProviderSpec, case: cases.Case) -> None:
    """A tool that another vendor runs is refused by name."""
    request = chat_turn(case)
    if case.operation:
        pytest.skip("no turn of a chat")
    invariants.check_foreign_tool(http(spec, case), request)


def test_classify(spec: gw.ProviderSpec, case: cases.Case) -> None:
    """Whatever a vendor answers, it is an error that the kernel knows."""
    conformance.check_classify(http(spec, case))


def test_error_table(spec: gw.ProviderSpec, case: cases.Case) -> None:
    """A bare status means what it means everywhere, and a wait is read."""
    invariants.check_table(http(spec, case))


def test_engine(spec: gw.ProviderSpec, case: cases.Case) -> None:
    """An engine that is not HTTP answers as the case says, and the same twice."""
    direct.check_direct(engine(spec, case), case)


def test_engine_stops_when_the_client_leaves(spec: gw.ProviderSpec, case: cases.Case) -> None:
    """Closing the stream of events ends the engine's work."""
    direct.check_leaving(engine(spec, case), case)


def engine(spec: gw.ProviderSpec, case: cases.Case) -> gw.DirectProvider:
    made = plugins.make(spec, case.settings)
    if not isinstance(made, gw.DirectProvider):
        pytest.skip("asked over HTTP")
    return made
