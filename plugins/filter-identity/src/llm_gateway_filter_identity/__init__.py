"""Tenants and API keys that the store keeps: who calls, and what holds for them."""
