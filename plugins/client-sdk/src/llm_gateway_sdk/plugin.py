"""Declares nothing: the commands are in `commands`, which has an entry-point group of its own."""
