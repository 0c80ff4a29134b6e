"""Features: what a model is asked to predict, computed from sound."""
