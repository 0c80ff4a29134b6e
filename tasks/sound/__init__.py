"""Sound: note amplitudes, frames of samples and magnitudes to audio."""
