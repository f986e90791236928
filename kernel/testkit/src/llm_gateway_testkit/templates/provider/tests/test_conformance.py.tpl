"""The conformance kit on this plugin; the cases lie beside it."""

from llm_gateway_testkit.suite.provider_suite import *  # noqa: F403

PLUGIN = "{{plugin}}"
