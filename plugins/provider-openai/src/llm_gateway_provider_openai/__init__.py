"""OpenAI and OpenAI-compatible servers as upstreams."""
