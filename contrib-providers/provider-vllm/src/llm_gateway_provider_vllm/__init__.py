"""vLLM as an upstream of the gateway."""
