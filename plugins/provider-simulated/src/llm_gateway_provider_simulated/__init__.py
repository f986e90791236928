"""A provider that answers by itself, for first steps and load tests."""
