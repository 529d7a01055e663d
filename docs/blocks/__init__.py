"""Blocks of the pages: a function makes each, by its name."""
