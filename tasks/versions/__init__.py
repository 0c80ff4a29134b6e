"""Versions of the data: the only package that calls DVC and git."""
