"""Keeps calls within the rate limits of a provider's account."""
