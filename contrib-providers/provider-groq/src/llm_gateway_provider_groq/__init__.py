"""Groq as an upstream of the gateway."""
