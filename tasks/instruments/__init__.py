"""Instruments: MIDI, the keyboard and its picture, FluidSynth."""
