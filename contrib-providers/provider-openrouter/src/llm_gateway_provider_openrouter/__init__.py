"""OpenRouter as an upstream of the gateway."""
