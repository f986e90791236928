"""The conformance kit on the engine that is not HTTP."""

from llm_gateway_testkit.suite.provider_suite import *  # noqa: F403

PLUGIN = "provider_simulated"
