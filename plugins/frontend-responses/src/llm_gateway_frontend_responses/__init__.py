"""OpenAI Responses as a client dialect."""
