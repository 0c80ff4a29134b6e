"""Features: targets that models predict, and what they are conditioned on, computed from sound and pictures."""
