"""Judges deployments by traffic and probes, and routes around those that are ill."""
