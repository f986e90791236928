"""Suites that ``--llm-gateway-plugin`` adds to a run; named so that no other run finds them."""
