"""Notes to sound through FluidSynth: the same bytes every time, whatever was rendered before.

Everything that changes the sound is set explicitly: no reverb, no chorus, no audio driver, its interpolation
and its number of voices. Events are placed here and not by its player. It computes sound in blocks of 64
samples and lets an event take effect only at the start of one, so each event goes to the block start nearest
to its time.
"""

import contextlib
import ctypes
import hashlib
import importlib.util
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from tasks.errors import BadInput, ToolError
from tasks.instruments.notes import Notes

# TimGM6mb.sf2 as pretty_midi 0.2.11 carries it; Debian's file of that name has other bytes.
SOUNDFONT_SHA256 = "82475b91a76de15cb28a104707d3247ba932e228bada3f47bba63c6b31aaf7a1"
BLOCK_LENGTH = 64  # samples; FLUID_BUFSIZE, fixed when FluidSynth is compiled

_PEDALS = (64, 66, 67)  # sustain, sostenuto, soft
_FOURTH_ORDER = 4  # FLUID_INTERP_4THORDER
_AUDIBLE_S = 0.05  # a note this long before the end must sound

# Event kinds in the order in which they happen at one moment: a key comes up before it is struck again.
_NOTE_OFF, _PEDAL, _NOTE_ON, _END = range(4)

_PART_LENGTH = 512 * BLOCK_LENGTH  # samples computed at a time

# The library fills its table of default modulators while the first synthesizer is made, and lets a second thread
# read it half filled; the import redirects a stream that all threads share.
_STARTING = threading.Lock()


class SynthError(ToolError):
    """FluidSynth or its SoundFont is missing, is another one, or did not do what was requested."""


class TooLoud(BadInput):
    """The take's sound leaves full scale at the gain that all takes share."""


class PedalMoves(Protocol):
    """Controllers of a take, as equally long arrays in order of time."""

    @property
    def time_s(self) -> NDArray[np.float64]:
        """When the controller moves."""

    @property
    def control(self) -> NDArray[np.uint8]:
        """MIDI number of the controller."""

    @property
    def value(self) -> NDArray[np.uint8]:
        """0 to 127."""


def find_soundfont() -> Path:
    """Return the path of TimGM6mb.sf2, which pretty_midi's wheel carries.

    Raises:
        SynthError: pretty_midi is not installed, or its wheel has no such file.
    """
    spec = importlib.util.find_spec("pretty_midi")
    if spec is None or spec.origin is None:
        raise SynthError("the SoundFont TimGM6mb.sf2 is missing: pip install pretty_midi==0.2.11.post0")
    path = Path(spec.origin).with_name("TimGM6mb.sf2")
    if not path.is_file():
        raise SynthError(f"{path} is missing: pip install --force-reinstall pretty_midi==0.2.11.post0")
    return path


def fluidsynth_version() -> str:
    """Return the version of the FluidSynth library, such as 2.3.1.

    Raises:
        SynthError: the library or its Python binding is not installed.
    """
    fluidsynth = _import_fluidsynth()
    parts = [ctypes.c_int() for _ in range(3)]
    fluidsynth.fluid_version(*parts)
    return ".".join(str(part.value) for part in parts)


def _import_fluidsynth() -> Any:
    try:
        # Where the environment has CI, pyfluidsynth prints at import, into whatever the program writes there.
        with _STARTING, contextlib.redirect_stdout(sys.stderr):
            import fluidsynth
    except ModuleNotFoundError:
        raise SynthError("the Python binding of FluidSynth is missing: pip install pyfluidsynth") from None
    except ImportError:
        raise SynthError("the library FluidSynth is missing: apt-get install libfluidsynth3") from None
    if not hasattr(fluidsynth, "Synth"):  # PyPI's `fluidsynth` is another package of the same name
        raise SynthError(f"{fluidsynth.__file__} is not pyfluidsynth: pip uninstall fluidsynth, install pyfluidsynth")
    return fluidsynth


def _missing_functions(fluidsynth: Any) -> tuple[Any, Any]:
    """Return fluid_synth_write_float and fluid_synth_set_interp_method, which the Python binding leaves out.

    The binding's own ``get_samples`` gives 16 bits with a dither whose state lasts from take to take.
    """
    pointer, number = ctypes.c_void_p, ctypes.c_int
    write_float = fluidsynth.cfunc(
        "fluid_synth_write_float",
        number,
        *(("synth", pointer, 1), ("length", number, 1)),
        *(("left", pointer, 1), ("left_start", number, 1), ("left_step", number, 1)),
        *(("right", pointer, 1), ("right_start", number, 1), ("right_step", number, 1)),
    )
    set_interpolation = fluidsynth.cfunc(
        "fluid_synth_set_interp_method",
        number,
        *(("synth", pointer, 1), ("channel", number, 1), ("method", number, 1)),
    )
    return write_float, set_interpolation


def _check_soundfont(soundfont: Path, sha256: str) -> None:
    try:
        found = hashlib.sha256(soundfont.read_bytes()).hexdigest()
    except FileNotFoundError:
        raise SynthError(
            f"SoundFont {soundfont} is missing, expected a file with sha256 {sha256};"
            " TimGM6mb.sf2 comes with: pip install pretty_midi==0.2.11.post0"
        ) from None
    except OSError as error:
        raise SynthError(f"SoundFont {soundfont} cannot be read: {error.strerror}") from None
    if found != sha256:
        raise SynthError(f"SoundFont {soundfont} has sha256 {found}, expected {sha256}: another font or a damaged file")


class Synthesizer:
    """Renders takes with one SoundFont, one gain and one sample rate.

    Every take gets a synthesizer of its own, so that nothing of the take before can sound in it; what this
    object keeps is the loaded SoundFont. Several may render at the same time in threads.
    """

    def __init__(self, soundfont: Path, *, sha256: str, sample_rate: int = 48000, gain: float) -> None:
        """Check the SoundFont, load it and read the sample rate back.

        Args:
            soundfont: an .sf2 file.
            sha256: what its content must have, in hexadecimal.
            sample_rate: Hz, 8000 to 96000.
            gain: 0 to 10, the same for every take, so that loud pieces stay louder than soft ones.

        Raises:
            SynthError: the SoundFont is missing, is another one or cannot be loaded; FluidSynth is missing or
                refuses the sample rate or the gain.
        """
        _check_soundfont(soundfont, sha256)
        self._fluidsynth = _import_fluidsynth()
        self._write_float, self._set_interpolation = _missing_functions(self._fluidsynth)
        self._soundfont = soundfont
        self._sample_rate = sample_rate
        self._gain = gain
        self._keeper: Any = None
        self._keeper, _ = self._new_synth()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the SoundFont's memory back; rendering still works, and loads it for each take."""
        if self._keeper is not None:
            self._keeper.delete()
            self._keeper = None

    def version(self) -> str:
        """Return the version of the FluidSynth library."""
        return fluidsynth_version()

    def render(
        self,
        notes: Notes,
        controls: PedalMoves | None,
        *,
        program: int,
        duration_s: float,
        may_be_loud: bool = False,
    ) -> NDArray[np.float32]:
        """Render a take as mono sound, the mean of left and right.

        Keys are released at ``offset_s``; how long they sound on is left to the synthesizer's own pedals
        (controllers 64, 66 and 67; others are ignored). Events stand at most half a block, 0.7 ms at 48 kHz,
        beside their time.

        Args:
            notes: in any order; all of them begin before ``duration_s``.
            controls: pedal moves; None for a take without.
            program: General MIDI number of the instrument: 0 grand piano, 12 marimba.
            duration_s: length of the sound.
            may_be_loud: give sound above full scale as it is.

        Returns:
            ``round(duration_s * sample_rate)`` samples in [-1, 1], or beyond where they may be.

        Raises:
            SynthError: the SoundFont has no such program, or the sound is silent or not finite.
            TooLoud: samples leave [-1, 1] and may not; says how many, and the gain that would fit.
            ValueError: a note begins after the end.
        """
        n_samples = round(duration_s * self._sample_rate)
        if len(notes) and not (notes.onset_s.min() >= 0 and notes.onset_s.max() < duration_s):
            raise ValueError(
                f"notes begin between {notes.onset_s.min()} and {notes.onset_s.max()} s, expected 0 to {duration_s} s"
            )
        n_blocks = -(-n_samples // BLOCK_LENGTH)
        events = _events(notes, controls, self._sample_rate / BLOCK_LENGTH)
        synth, font = self._new_synth()
        try:
            if synth.program_select(0, font, 0, program) != 0:
                raise SynthError(f"{self._soundfont.name} has no program {program} in bank 0")
            audio = self._play(synth, events, n_blocks)[:n_samples]
        finally:
            synth.delete()
        self._check_audio(audio, notes, duration_s, may_be_loud=may_be_loud)
        return audio

    def _new_synth(self) -> tuple[Any, int]:
        """Return a silent synthesizer and the number of the SoundFont loaded in it."""
        settings: dict[str, int | float | str] = {
            "synth.reverb.active": 0,
            "synth.chorus.active": 0,
            "synth.polyphony": 256,
            "synth.min-note-length": 10,  # ms
            "synth.cpu-cores": 1,
            "synth.dynamic-sample-loading": 0,
            "synth.lock-memory": 0,  # pinning warns where the system forbids it, and changes no sound
            "synth.threadsafe-api": 0,  # no synthesizer is shared between threads
            "synth.default-soundfont": "",
        }
        with _STARTING:
            synth = self._fluidsynth.Synth(
                gain=float(self._gain), samplerate=float(self._sample_rate), channels=16, **settings
            )
        try:
            return synth, self._prepare(synth)
        except SynthError:
            synth.delete()
            raise

    def _prepare(self, synth: Any) -> int:
        """Check that a new synthesizer took its settings, load the SoundFont and return its number."""
        for name, value in {"synth.sample-rate": self._sample_rate, "synth.gain": self._gain}.items():
            found = synth.get_setting(name)
            if found is None or abs(found - value) > 1e-6:
                raise SynthError(f"FluidSynth refuses {name} {value} and stays at {found}")
        font: int = synth.sfload(str(self._soundfont))
        if font == -1:
            raise SynthError(f"FluidSynth cannot load {self._soundfont}")
        self._set_interpolation(synth.synth, -1, _FOURTH_ORDER)
        return font

    def _play(self, synth: Any, events: list[tuple[int, int, int, int]], n_blocks: int) -> NDArray[np.float32]:
        """Play what begins within n_blocks blocks, into mono sound of that length."""
        audio = np.zeros(n_blocks * BLOCK_LENGTH, np.float32)
        stereo = np.empty((2, _PART_LENGTH), np.float32)
        left, right = stereo.ctypes.data, stereo[1].ctypes.data
        done = 0
        played = [event for event in events if event[0] < n_blocks]
        for block, kind, number, value in [*played, (n_blocks, _END, 0, 0)]:
            while done < block * BLOCK_LENGTH:
                length = min(block * BLOCK_LENGTH - done, _PART_LENGTH)
                if self._write_float(synth.synth, length, left, 0, 1, right, 0, 1) != 0:
                    raise SynthError(f"FluidSynth stopped at sample {done} of {len(audio)}")
                np.add(stereo[0, :length], stereo[1, :length], out=audio[done : done + length])
                done += length
            if kind == _NOTE_ON:
                if synth.noteon(0, number, value) != 0:
                    raise SynthError(f"FluidSynth refused note {number} at velocity {value}, sample {done}")
            elif kind == _NOTE_OFF:
                synth.noteoff(0, number)
            elif kind == _PEDAL:
                synth.cc(0, number, value)
        audio *= np.float32(0.5)
        return audio

    def _check_audio(self, audio: NDArray[np.float32], notes: Notes, duration_s: float, *, may_be_loud: bool) -> None:
        peak = max(float(audio.max(initial=0.0)), -float(audio.min(initial=0.0)))
        if not np.isfinite(peak) or np.isnan(audio.min(initial=0.0)):
            raise SynthError(f"FluidSynth gave a sample that is not finite for {len(notes)} notes")
        n_audible = int((notes.onset_s < duration_s - _AUDIBLE_S).sum())
        if n_audible and peak == 0.0:
            raise SynthError(f"FluidSynth gave silence for {n_audible} notes")
        if peak > 1.0 and not may_be_loud:
            n_clipped = int((np.abs(audio) > 1.0).sum())
            raise TooLoud(
                f"{n_clipped} samples of the sound are above full scale, the loudest is {peak:.3f}, at gain"
                f" {self._gain}; a gain up to {np.floor(self._gain / peak * 1000) / 1000} would fit",
                kind="TOO_LOUD",
            )


_OF_THREAD = threading.local()


def thread_synthesizer(*, sample_rate: int, gain: float) -> Synthesizer:
    """Return this thread's synthesizer with the SoundFont of the project: loading one takes a while.

    Raises:
        SynthError: as in `Synthesizer`.
    """
    wanted = (sample_rate, gain)
    if getattr(_OF_THREAD, "made_for", None) != wanted:
        _OF_THREAD.synthesizer = Synthesizer(
            find_soundfont(), sha256=SOUNDFONT_SHA256, sample_rate=sample_rate, gain=gain
        )
        _OF_THREAD.made_for = wanted
    synthesizer: Synthesizer = _OF_THREAD.synthesizer
    return synthesizer


def _events(notes: Notes, controls: PedalMoves | None, blocks_per_s: float) -> list[tuple[int, int, int, int]]:
    """Return (block, kind, number, value) in the order in which they are played.

    Events of one block keep the order of their times, and at one time keys come up, then pedals move, then
    keys go down.
    """
    order = np.lexsort((notes.onset_s, notes.pitch))
    pitch, velocity = notes.pitch[order], notes.velocity[order]
    on_s, off_s = notes.onset_s[order], notes.offset_s[order]
    on, off = np.rint(on_s * blocks_per_s).astype(np.int64), np.rint(off_s * blocks_per_s).astype(np.int64)
    off = np.maximum(off, on + 1)  # in one block with its note-on, a note-off would come first and be lost
    # FluidSynth lets go of a key that is struck again; the first stroke's note-off would cut the second one.
    ends = np.ones(len(notes), bool)
    ends[:-1] = (pitch[1:] != pitch[:-1]) | (on[1:] > off[:-1])

    columns = [
        (on, on_s, _NOTE_ON, pitch, velocity),
        (off[ends], off_s[ends], _NOTE_OFF, pitch[ends], np.zeros(int(ends.sum()), np.uint8)),
    ]
    if controls is not None:
        pedal = np.isin(controls.control, _PEDALS)
        moved_s = controls.time_s[pedal]
        moved = np.rint(moved_s * blocks_per_s).astype(np.int64)
        columns.append((moved, moved_s, _PEDAL, controls.control[pedal], controls.value[pedal]))
    block, time_s, kind, number, value = (
        np.concatenate(parts)
        for parts in zip(*((b, t, np.full(len(b), k), n, v) for b, t, k, n, v in columns), strict=True)
    )
    play = np.lexsort((kind, time_s, block))  # stable: moves of a pedal at one time stay in their order
    return list(zip(*(column[play].tolist() for column in (block, kind, number, value)), strict=True))
