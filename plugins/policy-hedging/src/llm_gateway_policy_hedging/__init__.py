"""Hedging of first tokens: a second attempt where a first one takes too long."""
