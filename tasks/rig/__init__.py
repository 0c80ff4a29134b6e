"""The virtual rig: cameras and microphones around an instrument, each with a clock of its own, and the truth."""
