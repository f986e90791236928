"""Answers kept in this process's memory."""
