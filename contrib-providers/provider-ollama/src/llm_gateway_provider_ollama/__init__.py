"""Ollama as an upstream of the gateway."""
