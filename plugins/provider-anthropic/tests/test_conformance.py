"""The kit's suite in the ordinary run; the cases lie in tests/cases."""

from llm_gateway_testkit.suite.provider_suite import *  # noqa: F403  # the suite is what it exports

PLUGIN = "provider_anthropic"
