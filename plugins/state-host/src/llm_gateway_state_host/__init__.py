"""Shared state without a server: in one process, or among the workers of one host."""
