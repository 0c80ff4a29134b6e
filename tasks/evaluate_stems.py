"""Verb ``evaluate-stems``: score `audiate separate` on mixes whose stems are known.

A folder holds a folder a mix: a stem a player, whose name says the instrument (``stem_1_vn.wav``, or URMP's
``AuSep_1_vn_Title.wav``), and perhaps ``mix.wav``; without one the mix is the sum of the stems.
"""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.errors import BadInput, PipelineError
from tasks.families.base import below_full_scale
from tasks.intake.layouts import ensemble_file
from tasks.media.process import shown
from tasks.media.sound import SoundBlocks
from tasks.metrics.intervals import paired_test
from tasks.metrics.separation import active_si_sdr_db, bss_eval_db
from tasks.separate import PARTIALS, Method, SeparateParams, known_instrument, separate_file
from tasks.store.audio import write_channels
from tasks.synchronize import SynchronizeParams

FIGURES = ("si_sdr_improvement_db", "si_sdr_db", "sdr_db", "sir_db", "sar_db")
"""What each player's sound is scored by: the first two while the player plays, the others by museval."""

MOST_PLAYERS = 7  # museval's cost grows with the cube of them
_N_RESAMPLES = 2000


@dataclass(frozen=True, kw_only=True)
class KnownMix:
    """A mix whose stems are known.

    Attributes:
        folder: where they are.
        mix: its file; None where it is the sum of the stems.
        stems: by player, in order.
        instruments: the players' codes.
    """

    folder: Path
    mix: Path | None
    stems: tuple[Path, ...]
    instruments: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class MixScore:
    """How well the players of one mix were separated.

    Attributes:
        known: the mix.
        players: the figures of each player, in order; one that has no value is left out.
        reason: why there are none, else empty.
    """

    known: KnownMix
    players: tuple[dict[str, float], ...] = field(default=())
    reason: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return what ``audiate evaluate-stems --json`` prints of the mix."""
        rows = [
            {"instrument": instrument, "stem": str(stem), **figures}
            for instrument, stem, figures in zip(
                self.known.instruments, self.known.stems, self.players or ({},) * len(self.known.stems), strict=True
            )
        ]
        return {"folder": str(self.known.folder), "players": rows, "reason": self.reason}


def known_mixes(folder: Path) -> list[KnownMix]:
    """Return the mixes of a folder, at any depth, whose stems are known, in order of their paths.

    Raises:
        BadInput: ``NO_STEMS``, no folder has two stems.
    """
    found = []
    for inside in sorted({path.parent for path in folder.rglob("*") if path.is_file()}):
        named = [(path, ensemble_file(path.name)) for path in sorted(inside.iterdir())]
        stems = [(about, path) for path, about in named if about is not None and about.role == "stem"]
        mixes = [path for path, about in named if about is not None and about.role == "mix"]
        stems.sort(key=lambda one: (one[0].number or 0, one[1].name))
        if len(stems) >= 2:
            found.append(
                KnownMix(
                    folder=inside,
                    mix=mixes[0] if mixes else None,
                    stems=tuple(path for _, path in stems),
                    instruments=tuple(about.instrument or "" for about, _ in stems),
                )
            )
    if not found:
        raise BadInput(
            f"{shown(folder)}: no folder holds two stems, expected a folder a mix with files such as stem_1_vn.wav and "
            "stem_2_vc.wav, and perhaps mix.wav",
            kind="NO_STEMS",
        )
    return found


def score_mixes(
    mixes: Sequence[KnownMix],
    *,
    params: SeparateParams,
    clock: SynchronizeParams,
    progress: Callable[[str], None],
) -> Iterator[MixScore]:
    """Separate each mix by its players' instruments and score it; one that cannot be used has a reason.

    Args:
        mixes: of `known_mixes`.
        params: of the separation.
        clock: of videos, which there are none of.
        progress: called with a few words at the start of each step.
    """
    for known in mixes:
        try:
            yield MixScore(known=known, players=_players(known, params, clock, progress))
        except PipelineError as error:
            yield MixScore(known=known, reason=str(error))


def _players(
    known: KnownMix, params: SeparateParams, clock: SynchronizeParams, progress: Callable[[str], None]
) -> tuple[dict[str, float], ...]:
    instruments = tuple(known_instrument(word) for word in known.instruments)
    if len(instruments) > MOST_PLAYERS:
        raise BadInput(
            f"{shown(known.folder)}: has {len(instruments)} stems, expected at most {MOST_PLAYERS}", kind="TOO_MANY"
        )
    with tempfile.TemporaryDirectory() as scratch:
        true, rate = _stems(known, params)
        mix = known.mix
        if mix is None:
            mix = Path(scratch) / "mix.wav"
            audio, gain_db = below_full_scale(true.sum(axis=0))
            write_channels(mix, audio[None], rate)
            true *= np.float32(10 ** (gain_db / 20))
        separated = separate_file(
            mix,
            Path(scratch) / "stems",
            method=Method(family=PARTIALS, why="the instruments alone are known"),
            trained=Path(scratch),
            data=Path(scratch),
            params=params,
            clock=clock,
            accelerator="cpu",
            progress=progress,
            players=instruments,
            suffix="wav",
        )
        found = np.stack([_mono(stem.path, params, rate) for stem in separated.stems])
        mixed = _mono(mix, params, rate)
    length = min(true.shape[1], found.shape[1], len(mixed))
    return figures_of(true[:, :length], found[:, :length], mixed[:length], sample_rate=rate)


def figures_of(
    true: NDArray[np.float32], found: NDArray[np.float32], mix: NDArray[np.float32], *, sample_rate: int
) -> tuple[dict[str, float], ...]:
    """Return the figures of each player.

    Args:
        true: (K, n) stems.
        found: (K, n) what was separated, in their order.
        mix: (n,).
        sample_rate: of all, in Hz.
    """
    by_museval = bss_eval_db(true[:, None], found[:, None], sample_rate=sample_rate)
    players = []
    for number, (stem, sound) in enumerate(zip(true, found, strict=True)):
        own = active_si_sdr_db(stem[None], sound[None], sample_rate=sample_rate)
        before = active_si_sdr_db(stem[None], mix[None], sample_rate=sample_rate)
        values = {"si_sdr_improvement_db": own - before, "si_sdr_db": own}
        values |= {name: float(by_museval[name][number]) for name in ("sdr_db", "sir_db", "sar_db")}
        players.append({name: value for name, value in values.items() if np.isfinite(value)})
    return tuple(players)


def _stems(known: KnownMix, params: SeparateParams) -> tuple[NDArray[np.float32], int]:
    """Return the stems (K, n), mono, at the mix's rate, or the first stem's; shorter ones end in silence."""
    first = SoundBlocks(known.mix or known.stems[0], sample_rate=None, policy=params.media, lenient=True)
    rate = first.sample_rate
    sounds = [_mono(path, params, rate) for path in known.stems]
    length = max(len(sound) for sound in sounds)
    return np.stack([np.pad(sound, (0, length - len(sound))) for sound in sounds]), rate


def _mono(path: Path, params: SeparateParams, rate: int) -> NDArray[np.float32]:
    blocks = list(SoundBlocks(path, sample_rate=rate, policy=params.media, lenient=True))
    return np.concatenate(blocks).reshape(-1).astype(np.float32)


def summary(scores: Sequence[MixScore]) -> dict[str, dict[str, Any]]:
    """Return each figure's mean over mixes with its 95 % interval; two mixes make no interval.

    Returns:
        By figure: ``mean``, ``low``, ``high`` (None where there are fewer than three mixes), ``worst`` of all players,
        and ``n``, the mixes.
    """
    made = {}
    for name in FIGURES:
        by_mix = [
            (str(score.known.folder), [player[name] for player in score.players if name in player]) for score in scores
        ]
        by_mix = [(folder, values) for folder, values in by_mix if values]
        if not by_mix:
            continue
        means = np.array([float(np.mean(values)) for _, values in by_mix])
        low = high = None
        if len(means) > 2:
            folders = [folder for folder, _ in by_mix]
            test = paired_test(means, folders, n_resamples=_N_RESAMPLES, rng=np.random.default_rng(0))
            low, high = float(test.low[0]), float(test.high[0])
        worst = min(min(values) for _, values in by_mix)
        made[name] = {"mean": float(means.mean()), "low": low, "high": high, "worst": worst, "n": len(means)}
    return made
