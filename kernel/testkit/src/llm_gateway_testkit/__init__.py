"""Conformance kit and scripted providers for plugins of the LLM gateway."""
