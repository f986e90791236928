"""The conformance kit on this plugin.

Numbers in the names of cases are those of the two lists that they cover: OpenAI's own
(with a model of OpenAI) and that of compatible servers (with ``base_url``).
"""

from llm_gateway_testkit.suite.provider_suite import *  # noqa: F403

PLUGIN = "provider_openai"
