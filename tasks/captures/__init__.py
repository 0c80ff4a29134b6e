"""Captures: the folder that a take's recordings arrive in, and what its take.yaml says."""
