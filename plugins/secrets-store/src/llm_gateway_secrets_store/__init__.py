"""Secrets that the configuration refers to: encrypted in the store, in variables, in files."""
