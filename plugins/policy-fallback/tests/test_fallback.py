"""Who steps in, and who does not."""

from collections.abc import Sequence

import llm_gateway_api as gw
import pytest
from llm_gateway_policy_fallback.policy import FallbackPolicy
from llm_gateway_policy_fallback.settings import FallbackSettings
from pydantic import ValidationError

F = gw.FailureClass
ASKED = gw.Asked(
    gw.Arrival("r-1", "POST", "/", "", {}, "127.0.0.1", 0.0), "big", "chat", False, 2, False, False
)
A, B, C, D = (gw.Target(*name.split("/")) for name in ("acme/a", "acme/b", "beta/c", "beta/d"))
NAMES = {"big": [A, B], "small": [C, D], "acme/a": [A], "beta/c": [C], "beta": [D], "off": []}
WINDOWS = {"acme/a": 1000, "acme/b": 2000, "beta/c": 500, "beta/d": 9000}


class Names:
    """A configuration with two models at two providers, and a provider out of service."""

    def named(self, name: str, asked: gw.Asked) -> Sequence[gw.Target]:
        return NAMES.get(name, [])

    def exists(self, name: str) -> bool:
        return name in NAMES or name == "acme"

    def info(self, target: gw.Target) -> gw.ModelInfo:
        return gw.ModelInfo(target.model, context_window=WINDOWS.get(target.name))


def policy(**chains: list[str]) -> FallbackPolicy:
    return FallbackPolicy(FallbackSettings.model_validate(chains), targets=Names())


def after(
    asked: FallbackPolicy,
    *tried: gw.Target,
    targets: tuple[gw.Target, ...] = (A,),
    failure: gw.FailureClass = F.CONNECT,
    committed: bool = False,
) -> gw.Attempt | None:
    made = tuple(gw.Attempted(each, failure, 0, None, 0.1, 0.0) for each in tried)
    return asked.next(gw.Plan(ASKED, targets, made, committed), failure, 60.0)


def test_chain_of_the_model_comes_first() -> None:
    """Then that of the deployment, then the provider's; all of a model's deployments join."""
    asked = policy(big=["small"], acme=["beta"])

    answer = after(asked, A)

    assert answer is not None
    assert (answer.target, answer.more, answer.mode) == (C, (D,), "fallback")


@pytest.mark.parametrize("chains", [{"acme/a": ["beta"]}, {"acme": ["beta"]}])
def test_chain_of_who_failed(chains: dict[str, list[str]]) -> None:
    """A deployment and a provider have chains too; a provider stands for its default model."""
    answer = after(policy(**chains), A)

    assert answer is not None
    assert answer.target == D


def test_plan_comes_first() -> None:
    """No chain begins while a deployment of the model was not asked."""
    assert after(policy(big=["small"]), A, targets=(A, B)) is None


def test_chains_lead_on_and_end() -> None:
    """Providers may stand in for each other: who was asked is not asked again."""
    asked = policy(acme=["beta"], beta=["acme/a", "beta/c"])

    answer = after(asked, A, D, targets=(A, D))

    assert answer is not None
    assert (answer.target, answer.more) == (C, ())
    assert after(asked, A, D, C, targets=(A, D, C)) is None


def test_out_of_service_is_passed_over() -> None:
    """A provider without a key offers nobody, and the next name is asked."""
    answer = after(policy(big=["off", "beta"]), A)

    assert answer is not None
    assert answer.target == D


@pytest.mark.parametrize("failure", [F.CALLER_FAULT, F.CONTENT_POLICY, F.BROKEN_AFTER_COMMIT])
def test_final_failures_are_final(failure: gw.FailureClass) -> None:
    """What speaks against the request, or came too late, leads to nobody."""
    assert after(policy(big=["small"]), A, failure=failure) is None
    assert after(policy(big=["small"]), A, committed=True) is None


def test_too_long_goes_to_a_larger_window() -> None:
    """First in the plan itself, then along the chains; a smaller or unknown one is no help."""
    asked = policy(big=["small"])
    long = F.CONTEXT_TOO_LONG

    own = after(asked, A, targets=(A, B), failure=long)
    chained = after(asked, A, B, targets=(A, B), failure=long)

    assert own is not None
    assert (own.target, own.more) == (B, (D,))
    assert chained is not None
    assert (chained.target, chained.more) == (D, ())
    assert after(asked, A, B, D, targets=(A, B, D), failure=long) is None


def test_mistakes_in_the_chains() -> None:
    """A name that nothing has, and one that stands in for itself, stop the start."""
    with pytest.raises(gw.ConfigurationError, match="nothing is called 'smal'"):
        policy(big=["smal"])
    with pytest.raises(ValidationError, match="'big' falls back to itself"):
        FallbackSettings(root={"big": ("big",)})
