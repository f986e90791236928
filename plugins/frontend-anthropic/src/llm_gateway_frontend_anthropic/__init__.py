"""Anthropic Messages as a client dialect."""
