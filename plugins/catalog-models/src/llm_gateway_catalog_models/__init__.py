"""Vendors' models and their prices, dated and with their sources."""
