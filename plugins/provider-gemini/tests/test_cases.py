"""The conformance cases of this folder, as ``pytest --llm-gateway-plugin`` runs them."""

from pathlib import Path

import llm_gateway_api as gw
import pytest
from llm_gateway_testkit import cases, conformance, invariants, plugins

FOLDER = Path(__file__).parent / "cases"
CASES = cases.load(FOLDER)
SPEC = plugins.kinds(plugins.load("provider_gemini"))["gemini"]


@pytest.mark.parametrize("case", CASES, ids=lambda each: each.name)
def test_case(case: cases.Case) -> None:
    provider = plugins.make(SPEC, case.settings)

    conformance.check_upstream(provider, case)
    if case.refusal is None:
        conformance.check_reply(provider, case)


@pytest.mark.parametrize("case", [each for each in CASES if each.events], ids=lambda c: c.name)
def test_decoder_cut_at_every_byte_truncated_and_with_garbage(case: cases.Case) -> None:
    provider = plugins.make(SPEC, case.settings)

    conformance.check_decoder(conformance.encoded(provider, case).decoder, case.reply)


@pytest.mark.parametrize("model", ["gemini-2.5-flash", "gemini-3-pro-preview"])
def test_unknown_members_inside_are_never_lost_in_silence(model: str) -> None:
    provider = plugins.make(SPEC, CASES[0].settings)

    invariants.check_unknown_inside(provider, gw.ChatRequest(model, (), dialect="openai.chat"))
