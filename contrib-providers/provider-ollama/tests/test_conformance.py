"""The conformance kit on this plugin; the cases beside it are named by what they show."""

from llm_gateway_testkit.suite.provider_suite import *  # noqa: F403

PLUGIN = "provider_ollama"
