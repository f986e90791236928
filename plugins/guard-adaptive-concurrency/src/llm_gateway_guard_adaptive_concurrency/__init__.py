"""Finds how many calls at once each deployment takes well."""
