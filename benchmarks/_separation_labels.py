"""Separation by the instruments' names alone, on made-up duets and trios of known and of unheard sources of sound."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import yaml
from numpy.typing import NDArray

from benchmarks._patches import PatchSampler
from benchmarks._separation_cases import RENDER_RATE, MadeMix, Sampler, made_mixes
from flows.presets import preset_text
from tasks.families import load_family
from tasks.families.separation import Mixture, SeparationFamily
from tasks.families.separation_baselines import IDEAL, NMF
from tasks.families.stems import at_rate
from tasks.features.resample import resample
from tasks.instruments.synth import Synthesizer, find_soundfont
from tasks.metrics.intervals import paired_interval
from tasks.metrics.separation import active_si_sdr_db
from tasks.partials.params import PartialsParams
from tasks.partials.separation import separate
from tasks.partials.spectra import Spectra, spectra_from_bytes
from tasks.pretrained import read_pretrained

SEED = 7
GAIN = 0.4
BUNDLED = "bundled"
TABLE = "partials.safetensors"
BASELINES = Path("data/trained/separation_baselines")
ENSEMBLES = Path(__file__).resolve().parents[1] / "data" / "sample" / "ensembles"

Separator = Callable[[MadeMix], NDArray[np.float32]]


@dataclass(frozen=True, kw_only=True)
class Row:
    """A mix's figures by one system: of each player the improvement of SI-SDR, in dB."""

    system: str
    piece: str
    gains_db: tuple[float, ...]


def labels(sources: Sequence[str], folder: Path, *, n_mixes: int, is_plain: bool, table: Path | None) -> None:
    """Print how well partials, the dictionary of a project and the ideal mask separate mixes of each source.

    Args:
        sources: NAME=PATH of SoundFonts or folders of patches; ``bundled`` is a path too.
        folder: a project, whose trained dictionary is a row where there is one.
        n_mixes: of each source.
        is_plain: without vibrato, rooms and equalization.
        table: of partials; None takes the one that comes with the program.
    """
    content = read_pretrained(TABLE) if table is None else table.read_bytes()
    spectra = spectra_from_bytes(content, str(table or TABLE))
    head = ("source", "mixes", "system", "takes", "SI-SDRi, dB", "worst player", "players below 0")
    print(f"\n| {' | '.join(head)} |\n|{'---|' * len(head)}")
    for source in sources:
        name, _, path = source.partition("=")
        with sampler_of(path) as sampler:
            rows = [
                row
                for mix in made_mixes(sampler, ENSEMBLES, seed=SEED, n_mixes=n_mixes, is_plain=is_plain)
                for row in scored(mix, separators(spectra, folder / BASELINES))
            ]
        for n_players in (2, 3):
            own = [row for row in rows if len(row.gains_db) == n_players]
            for system in dict.fromkeys(row.system for row in own):
                print(f"| {name} | {n_players} players | {figures([row for row in own if row.system == system])} |")


@contextmanager
def sampler_of(path: str) -> Iterator[Sampler]:
    """Open a SoundFont, or a folder of patches."""
    if Path(path).is_dir():
        yield PatchSampler(Path(path), RENDER_RATE)
        return
    soundfont = find_soundfont() if path == BUNDLED else Path(path)
    sha256 = hashlib.sha256(soundfont.read_bytes()).hexdigest()
    with Synthesizer(soundfont, sha256=sha256, sample_rate=RENDER_RATE, gain=GAIN) as synthesizer:
        yield synthesizer


def separators(spectra: Spectra, trained: Path) -> Mapping[str, Separator]:
    """Return what separates a mix (K, n), by the systems' names."""
    section = yaml.safe_load(preset_text("demo"))["separate"]["partials"]
    params = PartialsParams.model_validate(section)
    found: dict[str, Separator] = {
        "partials": lambda mix: separate(mix.mix[None], mix.sample_rate, mix.instruments, spectra, params).sounds[:, 0]
    }
    if (trained / f"{NMF}.safetensors").exists():
        for system in (NMF, IDEAL):
            found[system] = lambda mix, system=system: _by_baseline(mix, trained, system)  # type: ignore[misc]
    return found


def _by_baseline(mix: MadeMix, trained: Path, system: str) -> NDArray[np.float32]:
    family = load_family("separation_baselines")
    if not isinstance(family, SeparationFamily):
        raise TypeError("separation_baselines does not separate mixes")
    rate = int(yaml.safe_load((trained / f"{system}.json").read_text(encoding="utf-8"))["sample_rate"])
    stems = np.stack([resample(stem, mix.sample_rate, rate) for stem in mix.stems])[:, None]
    mixture = Mixture(
        audio=stems.sum(axis=0),
        sample_rate=rate,
        instruments=mix.instruments,
        motion=None,
        pictures=None,
        rolls=None,
        frame_rate=Fraction(25),
    )
    (done,) = family.separate(
        trained, {mix.name: mixture}, systems=(system,), accelerator="cpu", truth={mix.name: stems}
    )
    return at_rate(done.stems, rate, mix.sample_rate, mix.stems.shape[1])[:, 0]


def scored(mix: MadeMix, systems: Mapping[str, Separator]) -> Iterator[Row]:
    """Yield each system's row of a mix."""
    for system, separator in systems.items():
        gains = [
            active_si_sdr_db(stem[None], sound[None], sample_rate=mix.sample_rate)
            - active_si_sdr_db(stem[None], mix.mix[None], sample_rate=mix.sample_rate)
            for stem, sound in zip(mix.stems, separator(mix), strict=True)
        ]
        yield Row(system=system, piece=mix.piece, gains_db=tuple(gains))


def figures(rows: Sequence[Row]) -> str:
    """Return a row's cells: system, takes, mean with its 95 % interval over pieces, worst player, players below 0."""
    means = [float(np.mean(row.gains_db)) for row in rows]
    mean, low, high = paired_interval(
        means, [0.0] * len(means), [row.piece for row in rows], n_resamples=2000, rng=np.random.default_rng(0)
    )
    players = np.concatenate([row.gains_db for row in rows])
    below = int((players < 0).sum())
    cells = (rows[0].system, len(rows), f"{mean:.2f} [{low:.2f}, {high:.2f}]", f"{players.min():.1f}")
    return " | ".join(map(str, (*cells, f"{below} of {len(players)}")))
