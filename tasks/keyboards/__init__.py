"""Real keyboards in films: where the keys lie, and what they play."""
