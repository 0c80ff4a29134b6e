"""What verbs do with score takes: MIDI alone, rendered by the simulator."""
