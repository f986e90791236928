"""Budgets of tenants and keys: reserved before a request, settled after it."""
