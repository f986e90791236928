"""Shared state of a fleet, in Redis or Valkey."""
