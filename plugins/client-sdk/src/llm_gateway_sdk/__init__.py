"""Client of the LLM gateway."""
