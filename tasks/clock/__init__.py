"""How the clocks of two recordings of one event relate: delay, drift, and whether they relate at all."""
