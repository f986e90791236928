"""Routing rules and the strategies round_robin and weighted."""
