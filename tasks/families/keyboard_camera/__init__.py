"""Family ``keyboard_camera``: notes of a piano from a camera above it, learned from films whose notes are known.

``keyboard_camera`` is a network over the classical reader's evidence, the same for every key (`models.key_strokes`);
before training it says what the reader says. ``keyboard_reader`` is that reader alone, which learns nothing.
``mean_keys`` strikes each key as often as training does, whatever is filmed. ``true_keys`` is an upper bound: the notes
that were played. A synthesizer sounds all of them.
"""

from tasks.families.keyboard_camera.adapter import KeyboardCamera

__all__ = ["KeyboardCamera"]
