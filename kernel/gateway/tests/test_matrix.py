"""What becomes of a parameter is what encoding it shows."""

from collections.abc import Mapping
from typing import Any

import llm_gateway_api as gw
import msgspec
import pytest
from llm_gateway.matrix import SAMPLES, Matrix, outcomes

TAKEN = {"temperature": "heat"}


class Thermostat:
    """Takes a temperature, refuses a seed, leaves the rest out."""

    def encode(self, request: gw.ChatRequest) -> gw.UpstreamRequest:
        if "seed" in request.params:
            raise gw.UnsupportedParameterError("No seeds.", param="seed")
        sent: Mapping[str, Any] = {
            TAKEN[name]: each for name, each in request.params.items() if name in TAKEN
        }
        dropped = tuple(name for name in request.params if name not in TAKEN)
        body = msgspec.json.encode(sent)
        return gw.UpstreamRequest("POST", "https://acme.example", {}, body, None, False, dropped)  # type: ignore[arg-type]


class Broken(Thermostat):
    def encode(self, request: gw.ChatRequest) -> gw.UpstreamRequest:
        raise KeyError("a bug")


def test_an_outcome_is_what_encoding_shows() -> None:
    found = outcomes(Thermostat(), "m")  # type: ignore[arg-type]

    assert found.keys() == {*SAMPLES, "tools", "tool_choice"}
    assert {name for name, each in found.items() if each == "mapped"} == {"temperature"}
    assert {name for name, each in found.items() if each == "refused"} == {"seed"}


def test_a_provider_that_fails_at_it_has_no_outcomes(caplog: pytest.LogCaptureFixture) -> None:
    assert Matrix({"b": Broken()}).outcomes("b", "m") == {}  # type: ignore[dict-item]
    assert "matrix.failed" in caplog.text
    assert Matrix({}).outcomes("nobody", "m") == {}
