"""Answers to questions that mean the same: by likeness of vectors, and a check of what they say."""
