"""Together AI as an upstream of the LLM gateway."""
