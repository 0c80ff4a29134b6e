"""The work: one module a verb, one package a subject."""
