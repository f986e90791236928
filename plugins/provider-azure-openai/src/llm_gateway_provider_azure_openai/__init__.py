"""Azure OpenAI as an upstream of the LLM gateway."""
