"""The conformance kit on this dialect; numbers are those of OpenAI's list of cases."""

from llm_gateway_testkit.suite.frontend_suite import *  # noqa: F403

PLUGIN = "frontend_responses"
