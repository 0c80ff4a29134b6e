"""Metrics: how near a performance is to the truth, and how sure one can be."""
