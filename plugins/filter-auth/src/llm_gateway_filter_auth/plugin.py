"""Declarations of this plugin."""
