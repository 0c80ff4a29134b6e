"""Sound: note amplitudes, frames of samples and magnitudes become what one can listen to."""
