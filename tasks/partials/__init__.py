"""Separation by partials: what instruments sound like, harmonic by harmonic, held against a mix and adapted to it."""
