"""Cohere's native v2 API as an upstream of the LLM gateway."""
