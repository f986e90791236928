"""Refuses requests while the gateway itself has too much to do."""
