"""Made-up cases for ``benchmarks.sync``: music, devices, and the truth about their clocks.

A case follows from its group and its seed alone. What a case holds is known from how it was made: whether the two
recordings share an event, whether the shared part is distinct from every other part (`Case.is_ambiguous` follows
from the score's period and its varied events), and where each sample stands.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from tasks.instruments.notes import Notes, sorted_notes
from tasks.instruments.synth import SOUNDFONT_SHA256, Synthesizer, find_soundfont
from tasks.rig.clocks import DeviceClock, Drop, Wander, field_clock
from tasks.rig.microphone import GainControl, Response, Room, record, room_response

DRY_RATE = 48_000
STYLES = ("free", "scales", "chorale", "arpeggio", "rolls", "sparse", "human_loop", "ostinato", "exact_loop")
SNR_DB = (30.0, 10.0, 0.0, -5.0)
TUNING_SEED = 1_000_000  # tuning used seeds from here on; the published table uses those from 0 on
KNOWN_CODECS = ("wav pcm_s16le", "flac flac", "m4a aac", "ogg opus", "mp3 mp3")  # container and codec
UNSEEN_CODECS = ("wav pcm_s24le", "mp4 aac", "mkv opus")  # an mkv does not tell how AAC was primed
LOST_S = (0.005, 0.01, 0.015, 0.02)  # buffers of recorders
FIELD_S = 600.0
MAJOR = np.array([0, 2, 4, 5, 7, 9, 11])


@dataclass(frozen=True, kw_only=True)
class Device:
    """One recording of a case."""

    audio: NDArray[np.float32]
    rate: int
    codec: str


@dataclass(frozen=True, kw_only=True)
class Case:
    """Two recordings and what is known of them.

    Attributes:
        group: what it is about.
        related: both recorded the same event, and it can be told where.
        is_ambiguous: they did, but the shared part is the same at several places.
        facts: for the table.
    """

    group: str
    seed: int
    related: bool
    is_ambiguous: bool
    reference: Device
    other: Device
    reference_clock: DeviceClock
    other_clock: DeviceClock
    facts: dict[str, float | str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"{self.group}-{self.seed}"

    def truth_s(self, device_s: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the reference's time at moments of the other's."""
        return self.reference_clock.to_device(self.other_clock.to_world(device_s))


def compose(style: str, duration_s: float, rng: np.random.Generator) -> Notes:
    """Make up a score of one style; onsets up to 2 s before its end."""
    onset: list[float] = []
    pitch: list[int] = []
    velocity: list[int] = []
    length: list[float] = []

    def add(at: float, note: int, loud: float, lasts: float) -> None:
        if 0 <= at < duration_s - 2:
            onset.append(at)
            pitch.append(int(np.clip(note, 36, 96)))
            velocity.append(int(np.clip(loud, 20, 120)))
            length.append(max(lasts, 0.05))

    root = int(rng.integers(48, 60))
    beat = float(rng.uniform(0.25, 0.6))
    t = float(rng.uniform(0.2, 1.0))
    step = int(rng.integers(0, 12))
    if style == "free":
        while t < duration_s:
            for _ in range(int(rng.choice([1, 1, 1, 2, 3]))):
                add(t, int(rng.integers(45, 88)), rng.normal(75, 15), rng.uniform(0.2, 1.5))
            t += float(rng.gamma(2.0, 0.18))
    elif style == "scales":
        going = 1
        while t < duration_s:
            add(t, root + 12 * (step // 7) + int(MAJOR[step % 7]), rng.normal(75, 6), beat * 0.45)
            step += going
            if step > 20 or step < 1:
                going = -going
            t += beat * 0.5 + float(rng.normal(0, 0.006))
    elif style == "chorale":
        while t < duration_s:
            degree = int(rng.integers(0, 7))
            for voice in (0, 2, 4, 7):
                index = degree + voice
                add(
                    t + float(rng.normal(0, 0.01)),
                    root - 5 + 12 * (index // 7) + int(MAJOR[index % 7]),
                    rng.normal(70, 8),
                    beat * 3,
                )
            t += beat * float(rng.choice([2, 2, 4])) + float(rng.normal(0, 0.015))
    elif style == "arpeggio":
        while t < duration_s:
            chord = root + int(MAJOR[rng.integers(0, 7)]) + np.array([0, 4, 7, 12, 16, 12, 7, 4])
            for note in chord:
                add(t, int(note), rng.normal(65, 5), beat * 0.3)
                t += beat * 0.33 + float(rng.normal(0, 0.004))
            add(t, int(chord[0]) + 24, rng.normal(90, 5), beat * 2)
    elif style == "rolls":
        while t < duration_s:
            two = int(rng.integers(55, 84)), int(rng.integers(55, 84))
            end = t + float(rng.uniform(0.5, 3.0))
            while t < end:
                add(t, two[0], rng.normal(70, 8), 0.1)
                two = two[1], two[0]
                t += 0.075 + float(rng.normal(0, 0.006))
            t += float(rng.uniform(0, 0.6))
    elif style == "sparse":
        while t < duration_s:
            for _ in range(int(rng.integers(3, 9))):
                add(t, int(rng.integers(45, 88)), rng.normal(75, 12), rng.uniform(0.3, 1.0))
                t += float(rng.gamma(2.0, 0.2))
            t += float(rng.uniform(6, 12))
    elif style in ("human_loop", "ostinato", "exact_loop"):
        period = 2.0
        pattern = [
            (0.25 * k, root + int(rng.integers(0, 24)), float(rng.normal(75, 12)))
            for k in range(8)
            if rng.random() < 0.85
        ]
        pattern = pattern or [(0.0, root, 80.0)]
        number = 0
        start = 0.0 if style == "exact_loop" else t
        while start + number * period < duration_s:
            for at, note, loud in pattern:
                wobble = (rng.normal(0, 0.005), rng.normal(0, 4)) if style == "human_loop" else (0.0, 0.0)
                add(start + number * period + at + float(wobble[0]), note, round(loud) + wobble[1], 0.22)
            if style == "ostinato" and number % 4 == 3:
                add(
                    start + number * period + 0.125 + 0.25 * int(rng.integers(0, 7)),
                    root + int(rng.integers(12, 36)),
                    85,
                    0.4,
                )
            number += 1
    else:
        raise ValueError(f"no style {style}")
    on = np.array(onset)
    return _one_hand(on, on + np.array(length), np.array(pitch), np.array(velocity))


def _one_hand(
    on: NDArray[np.float64], off: NDArray[np.float64], pitch: NDArray[np.int64], velocity: NDArray[np.int64]
) -> Notes:
    """Let a key come up before it is struck again, and drop strokes of one key within 30 ms."""
    notes = sorted_notes(on, off, pitch, velocity)
    keep = np.ones(len(notes), bool)
    ends = notes.offset_s.copy()
    for key in np.unique(notes.pitch):
        rows = np.flatnonzero(notes.pitch == key)
        last = rows[0]
        for row in rows[1:]:
            if notes.onset_s[row] - notes.onset_s[last] < 0.03:
                keep[row] = False
                continue
            ends[last] = min(ends[last], notes.onset_s[row] - 0.01)
            last = row
    return replace(notes, offset_s=ends, sounding_offset_s=ends).take(keep)


def rehumanized(notes: Notes, rng: np.random.Generator) -> Notes:
    """Return the same score as another person plays it: another tempo curve, other onsets and strokes."""
    knots = np.arange(0, notes.onset_s.max() + 12, 8.0)
    tempo = np.exp(np.cumsum(rng.normal(0, 0.01, len(knots))))
    bent = np.concatenate([[0], np.cumsum(tempo[:-1] * 8.0)])
    on = np.interp(notes.onset_s, knots, bent) + rng.normal(0, 0.012, len(notes))
    on = np.maximum(on - on.min() + notes.onset_s.min(), 0)
    velocity = np.clip(notes.velocity + rng.normal(0, 8, len(notes)), 20, 120).astype(np.int64)
    return _one_hand(on, on + (notes.offset_s - notes.onset_s), notes.pitch.astype(np.int64), velocity)


@lru_cache(maxsize=1)
def _synthesizer() -> Synthesizer:
    return Synthesizer(find_soundfont(), sha256=SOUNDFONT_SHA256, sample_rate=DRY_RATE, gain=0.3)


@lru_cache(maxsize=3)
def music(style: str, seed: int, duration_s: float, program: int) -> NDArray[np.float32]:
    """Return the dry sound of a made-up piece; several cases record the same one with other devices."""
    return sound_of(compose(style, duration_s, np.random.default_rng([seed, STYLES.index(style)])), duration_s, program)


def sound_of(notes: Notes, duration_s: float, program: int) -> NDArray[np.float32]:
    return _synthesizer().render(notes, None, program=program, duration_s=duration_s)


@dataclass(frozen=True, kw_only=True)
class Kit:
    """What devices are drawn from."""

    rates: tuple[int, ...]
    codecs: tuple[str, ...]
    t60_s: tuple[float, float]
    size_m: tuple[float, float]
    distance_m: tuple[float, float]
    low_hz: tuple[float, float]
    high_hz: tuple[float, float]
    phases: tuple[str, ...]
    programs: tuple[int, ...]


KNOWN = Kit(
    rates=(32_000, 44_100, 48_000),
    codecs=KNOWN_CODECS,
    t60_s=(0.2, 0.6),
    size_m=(4, 9),
    distance_m=(0.4, 1.6),
    low_hz=(40, 200),
    high_hz=(6000, 16000),
    phases=("zero",),
    programs=(0, 12),
)
UNSEEN = Kit(
    rates=(16_000, 22_050, 96_000),
    codecs=UNSEEN_CODECS,
    t60_s=(0.6, 0.9),
    size_m=(8, 16),
    distance_m=(0.8, 2.5),
    low_hz=(150, 350),
    high_hz=(3500, 7000),
    phases=("zero",),
    programs=(24, 6, 11, 46),  # guitar, harpsichord, vibraphone, harp
)


def make_device(
    dry: NDArray[np.float32],
    clock: DeviceClock,
    duration_s: float,
    *,
    kit: Kit,
    snr_db: float,
    rng: np.random.Generator,
    clean: bool,
) -> Device:
    """Let one device of a kit record; a clean one stands near and has little noise."""
    rate = int(rng.choice(kit.rates))
    size = [float(rng.uniform(*kit.size_m)), float(rng.uniform(*kit.size_m)), float(rng.uniform(2.6, 4))]
    source = [size[0] * float(rng.uniform(0.3, 0.6)), size[1] * float(rng.uniform(0.3, 0.6)), 1.2]
    distance = float(rng.uniform(*kit.distance_m)) * (0.5 if clean else 1)
    angle, rise = float(rng.uniform(0, 2 * math.pi)), float(rng.uniform(-0.2, 0.3))
    place = [source[0] + distance * math.cos(angle), source[1] + distance * math.sin(angle), 1.2 + distance * rise]
    place = [min(max(x, 0.1), s - 0.1) for x, s in zip(place, size, strict=True)]
    room = Room(
        size_m=tuple(size),
        t60_s=float(rng.uniform(*kit.t60_s)),
        source_m=tuple(source),
        microphone_m=tuple(place),
        max_order=14,
    )
    bumps = tuple(
        (float(2 ** rng.uniform(7.5, 12.5)), float(rng.normal(0, 5)), float(rng.uniform(0.3, 1.5))) for _ in range(4)
    )
    response = Response(
        low_hz=float(rng.uniform(*kit.low_hz)),
        high_hz=float(rng.uniform(*kit.high_hz)),
        bumps=bumps,
        phase=str(rng.choice(kit.phases)),
    )
    control = (
        GainControl(target_db=-20, max_gain_db=25, attack_s=0.05, release_s=float(rng.uniform(0.5, 2)))
        if rng.random() < 0.5
        else None
    )
    audio = record(
        dry,
        DRY_RATE,
        duration_s=duration_s,
        clock=clock,
        room=room_response(room, sample_rate=DRY_RATE),
        response=response,
        gain_control=control,
        noise_db=-(30.0 if clean else snr_db),
        rate=rate,
        rng=rng,
    )
    return Device(audio=audio * np.float32(rng.uniform(0.2, 1.0)), rate=rate, codec=str(rng.choice(kit.codecs)))


def clock_at(
    start_s: float, drift_ppm: float, *, wander: Wander | None = None, dropped: tuple[Drop, ...] = ()
) -> DeviceClock:
    return DeviceClock(start_s=start_s, drift_ppm=drift_ppm, wander=wander, dropped=dropped)


def make_case(group: str, seed: int) -> Case:
    """Make a case; groups are the keys of ``GROUPS``."""
    rng = np.random.default_rng([seed, list(GROUPS).index(group)])
    return GROUPS[group](group, seed, rng)


SHARED_MUSIC_S = 170.0
SHARING = 4  # cases of a group that record the same music


def _pair(
    group: str,
    seed: int,
    rng: np.random.Generator,
    *,
    style: str,
    snr_db: float,
    kit: Kit = KNOWN,
    reference_s: float = 90.0,
    other_s: float | None = None,
    start_s: float | None = None,
    drift_ppm: float | None = None,
    wander: Wander | None = None,
    dropped: tuple[Drop, ...] = (),
    ambiguous: bool = False,
) -> Case:
    """Two devices at one event. Where the other one starts in the reference's time is drawn, if it is not given."""
    other_s = float(rng.uniform(40, 72)) if other_s is None else other_s
    if drift_ppm is None:
        drift_ppm = float(rng.uniform(-150, 150)) if rng.random() < 0.6 else float(rng.uniform(-1200, 1200))
    if start_s is None:
        shared = float(rng.uniform(max(15.0, 0.4 * other_s), other_s))
        start_s = float(rng.uniform(0, reference_s - other_s))
        if rng.random() < 0.5:  # the one begins before the reference, or ends after it
            start_s = shared - other_s if rng.random() < 0.5 else reference_s - shared
    lead = max(0.0, -start_s) + 2
    needed_s = lead + max(reference_s, start_s + other_s * 1.0015 + sum(drop.length_s for drop in dropped)) + 3
    music_seed = seed // SHARING
    program = kit.programs[music_seed % len(kit.programs)]
    dry = music(style, music_seed, SHARED_MUSIC_S, program)[: round(needed_s * DRY_RATE)]
    own_ppm = float(rng.uniform(-30, 30))
    reference_clock = clock_at(lead, own_ppm)
    other_clock = clock_at(lead + start_s, own_ppm + drift_ppm, wander=wander, dropped=dropped)
    reference = make_device(dry, reference_clock, reference_s, kit=kit, snr_db=snr_db, rng=rng, clean=True)
    other = make_device(dry, other_clock, other_s, kit=kit, snr_db=snr_db, rng=rng, clean=False)
    shared = min(reference_s, start_s + other_s) - max(0.0, start_s)
    return Case(
        group=group, seed=seed, related=not ambiguous, is_ambiguous=ambiguous, reference=reference, other=other,
        reference_clock=reference_clock, other_clock=other_clock,
        facts={
            "style": style, "snr_db": snr_db, "drift_ppm": drift_ppm, "overlap_s": shared, "program": program,
            "codec": other.codec,
        },
    )  # fmt: skip


def _turn(seed: int, styles: tuple[str, ...], snr_db: tuple[float, ...]) -> dict[str, object]:
    """Return style and noise of a seed: the same music under each noise, then the next one."""
    return {"style": styles[seed // SHARING % len(styles)], "snr_db": snr_db[seed % len(snr_db)]}


def _standard(group: str, seed: int, rng: np.random.Generator) -> Case:
    return _pair(group, seed, rng, **_turn(seed, STYLES[:7], SNR_DB))


def _unseen(group: str, seed: int, rng: np.random.Generator) -> Case:
    return _pair(group, seed, rng, kit=UNSEEN, **_turn(seed, STYLES[:7], SNR_DB))


def _ostinato(group: str, seed: int, rng: np.random.Generator) -> Case:
    return _pair(group, seed, rng, style="ostinato", snr_db=SNR_DB[seed % 4])


def _exact_loop(group: str, seed: int, rng: np.random.Generator) -> Case:
    start = float(rng.uniform(6, 30))
    return _pair(
        group, seed, rng, style="exact_loop", snr_db=SNR_DB[seed % 4], other_s=40.0, start_s=start, ambiguous=True
    )


def _drop(group: str, seed: int, rng: np.random.Generator) -> Case:
    other = float(rng.uniform(50, 70))
    length_s = float(np.exp(rng.uniform(np.log(0.1), np.log(2.0))))
    drop = Drop(at_s=float(rng.uniform(0.25, 0.75)) * other, length_s=length_s)
    start, drift = float(rng.uniform(2, 15)), float(rng.uniform(-150, 150))
    how = _turn(seed, STYLES[:6], (30.0, 10.0))
    return _pair(group, seed, rng, other_s=other, start_s=start, drift_ppm=drift, dropped=(drop,), **how)


def _lost_buffer(group: str, seed: int, rng: np.random.Generator) -> Case:
    """One buffer of a recorder is lost or, in every fifth case, recorded twice: 5, 10, 15 or 20 ms by the seed."""
    other = float(rng.uniform(30, 70))
    length_s = LOST_S[seed % len(LOST_S)] * (-1 if seed % 5 == 4 else 1)
    drop = Drop(at_s=float(rng.uniform(0.1, 0.9)) * other, length_s=length_s)
    start, drift = float(rng.uniform(2, 15)), float(rng.uniform(-50, 50))
    how = _turn(seed, STYLES[:6], (30.0, 10.0)) | {"snr_db": float(rng.choice([30.0, 10.0, 0.0]))}
    return _pair(group, seed, rng, other_s=other, start_s=start, drift_ppm=drift, dropped=(drop,), **how)


def _field(group: str, seed: int, rng: np.random.Generator) -> Case:
    """Ten minutes of a device whose clock is drawn as those of the field are (`tasks.rig.clocks.field_clock`)."""
    style = STYLES[seed % 5]
    start_s, lead = float(rng.uniform(2, 15)), 2.0
    clock = field_clock(rng, start_s=lead + start_s, duration_s=FIELD_S)
    program = KNOWN.programs[seed % len(KNOWN.programs)]
    dry = sound_of(compose(style, FIELD_S + 30, rng), FIELD_S + 30, program)
    reference_clock = clock_at(lead, 0.0)
    snr_db = (30.0, 10.0)[seed % 2]
    reference = make_device(dry, reference_clock, FIELD_S, kit=KNOWN, snr_db=snr_db, rng=rng, clean=True)
    other = make_device(dry, clock, FIELD_S, kit=KNOWN, snr_db=snr_db, rng=rng, clean=False)
    return Case(
        group=group, seed=seed, related=True, is_ambiguous=False, reference=reference, other=other,
        reference_clock=reference_clock, other_clock=clock,
        facts={
            "style": style, "snr_db": snr_db, "drift_ppm": clock.drift_ppm, "overlap_s": FIELD_S - start_s,
            "program": program, "codec": other.codec,
        },
    )  # fmt: skip


def _wander(group: str, seed: int, rng: np.random.Generator) -> Case:
    wander = Wander(amplitude_s=0.005, period_s=float(rng.uniform(60, 110)))
    start, drift = float(rng.uniform(2, 15)), float(rng.uniform(-100, 100))
    how = _turn(seed, STYLES[:5], (30.0, 10.0))
    return _pair(
        group, seed, rng, reference_s=130.0, other_s=110.0, start_s=start, drift_ppm=drift, wander=wander, **how
    )


def _short_clip(group: str, seed: int, rng: np.random.Generator) -> Case:
    start = float(rng.uniform(2, 75))
    return _pair(group, seed, rng, other_s=8.0, start_s=start, **_turn(seed, STYLES[:5], SNR_DB[:3]))


def _short_overlap(group: str, seed: int, rng: np.random.Generator) -> Case:
    start = float(rng.choice([-40.0, 80.0]))
    return _pair(group, seed, rng, other_s=50.0, start_s=start, **_turn(seed, STYLES[:5], SNR_DB[:3]))


def _fast_drift(group: str, seed: int, rng: np.random.Generator) -> Case:
    drift = float(rng.choice([-1, 1])) * float(rng.uniform(1200, 1500))
    return _pair(group, seed, rng, drift_ppm=drift, **_turn(seed, STYLES[:6], SNR_DB))


def _far(group: str, seed: int, rng: np.random.Generator) -> Case:
    kit = replace(KNOWN, distance_m=(3.0, 4.0), size_m=(9, 12), t60_s=(0.8, 1.0))
    return _pair(group, seed, rng, kit=kit, **_turn(seed, STYLES[:6], SNR_DB[:2]))


def _unlike(group: str, seed: int, rng: np.random.Generator) -> Case:
    """A recording of something else: another piece, the same piece played again, silence, a later hour."""
    kit = KNOWN if seed % 2 else UNSEEN
    style = STYLES[seed // SHARING % (7 if group == "neg_no_overlap" else 8)]
    snr = SNR_DB[seed % 4]
    music_seed = seed // SHARING
    program = kit.programs[music_seed % len(kit.programs)]
    reference_clock, other_clock = (
        clock_at(1.0, 0.0),
        clock_at(float(rng.uniform(2, 20)), float(rng.uniform(-300, 300))),
    )
    if group == "neg_no_overlap":
        whole = music(style, music_seed, 190.0, program)
        dry, other_dry = whole[: 92 * DRY_RATE], whole[96 * DRY_RATE :]
    else:
        dry = other_dry = music(style, music_seed, 95.0, program)
    if group == "neg_other_piece":
        other_dry = music(STYLES[music_seed // 8 % 8], music_seed + 50_000, 95.0, program)
    elif group == "neg_performance":
        first = compose(style, 95.0, np.random.default_rng([music_seed, STYLES.index(style)]))
        other_dry = sound_of(rehumanized(first, rng), 110.0, program)
    reference = make_device(dry, reference_clock, 90.0, kit=kit, snr_db=snr, rng=rng, clean=True)
    other = make_device(other_dry, other_clock, float(rng.uniform(40, 70)), kit=kit, snr_db=snr, rng=rng, clean=False)
    if group == "neg_silence":
        level = (0.0, 1e-4, 1e-2)[seed % 3]
        silent = (level * rng.standard_normal(len(other.audio))).astype(np.float32)
        other = replace(other, audio=silent)
    return Case(
        group=group, seed=seed, related=False, is_ambiguous=False, reference=reference, other=other,
        reference_clock=reference_clock, other_clock=other_clock,
        facts={"style": style, "snr_db": snr, "program": program, "codec": other.codec},
    )  # fmt: skip


# The place of a group seeds its cases: a new one goes to the end.
GROUPS = {
    "drop": _drop,
    "far": _far,
    "fast_drift": _fast_drift,
    "neg_exact_loop": _exact_loop,
    "neg_no_overlap": _unlike,
    "neg_other_piece": _unlike,
    "neg_performance": _unlike,
    "neg_silence": _unlike,
    "ostinato": _ostinato,
    "short_clip": _short_clip,
    "short_overlap": _short_overlap,
    "standard": _standard,
    "unseen": _unseen,
    "wander": _wander,
    "lost_buffer": _lost_buffer,
    "field": _field,
}
