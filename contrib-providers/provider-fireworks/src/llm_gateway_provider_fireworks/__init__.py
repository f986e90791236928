"""Fireworks AI as an upstream of the gateway."""
