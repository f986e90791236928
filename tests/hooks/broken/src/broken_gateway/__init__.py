"""Plugins that break on purpose, each in the phase its module is named after."""
