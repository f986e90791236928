"""The conformance kit on this plugin."""

from llm_gateway_testkit.suite.provider_suite import *  # noqa: F403

PLUGIN = "provider_together"
