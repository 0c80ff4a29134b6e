"""Separation on a run's ensembles: figures of each network and baseline, gains by conditions, speed and seams.

python -m benchmarks.separation FOLDER [--part compare conditions speed] [--preset NAME] [--steps N] [--keep DIR]
python -m benchmarks.separation FOLDER --part labels --source NAME=PATH... [--mixes N] [--plain] [--table FILE]

FOLDER is a project in which the stages film to chunk have run. Networks are trained by the families' own ``fit`` with
the values of a preset; what was trained is kept in DIR, and is not trained again. Nothing in FOLDER is written to.

compare: every system on every test take: SI-SDR and its improvement over the active seconds, museval's SDR, leakage on
silent players, by number of players and for two of one instrument; the difference to the blind network with its 95 %
interval over pieces; swapped and blanked videos.
conditions: what the network is conditioned on, one row each, all for ``--steps`` steps.
speed: times real time of whole mixes, and the loudest difference that cutting one into pieces makes.
labels: separation by the instruments' names alone, on duets and trios that other sources of sound make of the bundled
pieces, SoundFonts or folders of patches (``bundled`` is TimGM6mb): known to the table of partials, and unheard. The
dictionary is a row where FOLDER has a trained one.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from benchmarks._separation_labels import labels
from flows.presets import preset_text
from tasks.evaluate import TakeScores
from tasks.families import load_family
from tasks.families.probes import probe_mixture, probes
from tasks.families.separation import Mixture, SeparationFamily, mixture_of
from tasks.families.stems import write_separation
from tasks.families.wave_unet.conditions import conditions_of, on_grid
from tasks.families.wave_unet.params import BLIND, SYSTEM, WaveUnetParams
from tasks.families.wave_unet.separator import Separator, separate_whole
from tasks.kinds.ensembles.evaluate import score_separation
from tasks.metrics.causality import causality
from tasks.metrics.intervals import paired_interval
from tasks.store.ensembles import EnsembleSet
from tasks.synthesize import Lazy

ENSEMBLES = Path("data/chunked/ensembles")
PARTS = ("compare", "conditions", "speed", "labels")
FAMILIES = ("separation_baselines", "wave_unet")
FIGURES = ("si_sdr_improvement_db", "si_sdr_db", "sdr_db", "leakage_db", "leakage_worst_db")
CONDITIONS: dict[str, dict[str, Any]] = {
    "labels": {"conditioned_on": ["labels"]},
    "classifier": {"conditioned_on": ["classifier"]},
    "classifier, motion": {"conditioned_on": ["classifier", "motion"]},
    "classifier, motion, onsets_video": {"conditioned_on": ["classifier", "motion", "onsets_video"]},
    "classifier, motion, pitches_video": {"conditioned_on": ["classifier", "motion", "pitches_video"]},
    "labels, score": {"conditioned_on": ["labels", "score"]},
    "all three, added at the bottleneck": {"conditioning": "additive", "place": "bottleneck", "n_fft": 0},
    "all three, without a dictionary": {"n_iterations": 0},
    "all three, without masks": {"n_fft": 0},
}


def main() -> int:
    """Print the requested tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="a project in which the stages film to chunk have run")
    parser.add_argument("--part", nargs="+", choices=PARTS, default=("compare", "speed"))
    parser.add_argument("--preset", default="study", help="whose values the networks are trained with")
    parser.add_argument("--steps", type=int, default=400, help="of the rows of `conditions`")
    parser.add_argument("--keep", type=Path, default=None, help="where what is trained stays")
    parser.add_argument("--source", nargs="+", default=["bundled=bundled"], help="NAME=PATH, of `labels`")
    parser.add_argument("--mixes", type=int, default=36, help="of each source of `labels`")
    parser.add_argument("--plain", action="store_true", help="of `labels`: no vibrato, rooms and equalization")
    parser.add_argument("--table", type=Path, default=None, help="of partials; by default the one that is shipped")
    arguments = parser.parse_args()
    if "labels" in arguments.part:
        labels(
            arguments.source,
            arguments.folder,
            n_mixes=arguments.mixes,
            is_plain=arguments.plain,
            table=arguments.table,
        )
    others = [part for part in arguments.part if part != "labels"]
    if not others:
        return 0
    sections = yaml.safe_load(preset_text(arguments.preset))["train"]
    data = EnsembleSet(arguments.folder / ENSEMBLES)
    with tempfile.TemporaryDirectory() as scratch:
        keep = arguments.keep or Path(scratch)
        parts: dict[str, Callable[[], None]] = {
            "compare": lambda: compare(data, sections, keep),
            "conditions": lambda: conditions(data, sections, keep, arguments.steps),
            "speed": lambda: speed(data, sections, keep),
        }
        for part in others:
            parts[part]()
    return 0


def fitted(data: EnsembleSet, name: str, section: Mapping[str, Any], out: Path) -> SeparationFamily[Any]:
    """Return a family that is trained in ``out``, now or before."""
    family = load_family(name)
    if not isinstance(family, SeparationFamily):
        raise TypeError(f"{name} does not separate mixes")
    if not (out / "seconds.json").exists():
        out.mkdir(parents=True, exist_ok=True)
        began, cpu_s = time.monotonic(), time.process_time()
        params = family.params_class.model_validate(section)
        family.fit(EnsembleSet(data.folder), out, params=params, resume=out / "resume", accelerator="auto")
        spent = {"wall_s": time.monotonic() - began, "cpu_s": time.process_time() - cpu_s}
        (out / "seconds.json").write_text(json.dumps(spent))
    spent = json.loads((out / "seconds.json").read_text())
    print(f"{out.name}: trained in {spent['wall_s']:.0f} s, {spent['cpu_s']:.0f} CPU-s")
    return family


def scored(
    data: EnsembleSet, family: SeparationFamily[Any], trained: Path, scratch: Path, *, museval_players: int = 4
) -> list[TakeScores]:
    """Separate and score every test take by every system of a family."""
    takes = data.takes("test")
    mixtures: Lazy[Mixture] = Lazy(dict.fromkeys(takes), lambda take: mixture_of(data, take))
    truth = Lazy(dict.fromkeys(takes), data.stems)
    found = []
    for one in family.separate(trained, mixtures, systems=family.systems, accelerator="auto", truth=truth):
        folder = scratch / one.system / one.take
        folder.mkdir(parents=True)
        is_unordered = one.system in family.unordered
        write_separation(
            folder,
            one,
            mix=data.mix(one.take),
            sample_rate=data.sample_rate,
            instruments=data.instruments(one.take),
            truth=data.stems(one.take) if is_unordered else None,
        )
        found.append(
            score_separation(
                data,
                one.take,
                folder,
                system=one.system,
                role=family.role(one.system),
                ordered_by="truth" if is_unordered else "system",
                known={},
                museval_players=museval_players,
                segment_ids=(),
            ).take
        )
    return found


def groups_of(found: Sequence[TakeScores]) -> dict[str, list[TakeScores]]:
    """Return the rows of all takes, of each number of players, and of duets of one and of two instruments."""
    groups: dict[str, list[TakeScores]] = {"all": list(found)}
    for one in found:
        n = one.labels["n_players"]
        groups.setdefault(f"{n} players", []).append(one)
        if n == 2:
            groups.setdefault("2 of one instrument" if one.labels["same_instruments"] else "2 instruments", []).append(
                one
            )
    return dict(sorted(groups.items()))


def compare(data: EnsembleSet, sections: Mapping[str, Any], keep: Path) -> None:
    """Print every system's figures."""
    found: list[TakeScores] = []
    with tempfile.TemporaryDirectory() as scratch:
        for name in FAMILIES:
            family = fitted(data, name, sections[name], keep / name)
            found += scored(data, family, keep / name, Path(scratch))
    table(found)
    against(found, SYSTEM, BLIND)
    family = load_family("wave_unet")
    if isinstance(family, SeparationFamily):
        follow(data, family, keep / "wave_unet")


def table(found: Sequence[TakeScores]) -> None:
    """Print the mean of each figure over the takes of a group, by system."""
    print(f"\n| group | takes | system | {' | '.join(FIGURES)} |\n|---|---|---|{'---|' * len(FIGURES)}")
    for group, rows in groups_of(found).items():
        for system in dict.fromkeys(one.system for one in rows):
            own = [one for one in rows if one.system == system]
            means = [np.mean([one.scores[name] for one in own if name in one.scores] or [np.nan]) for name in FIGURES]
            print(f"| {group} | {len(own)} | {system} | {' | '.join(f'{value:.2f}' for value in means)} |")


def against(found: Sequence[TakeScores], system: str, other: str) -> None:
    """Print how much better one system improves SI-SDR than another, with 95 % intervals over pieces."""
    print(f"\n| {system} over {other} | takes | pieces | SI-SDR improvement, dB |\n|---|---|---|---|")
    for group, rows in groups_of(found).items():
        own, its = ({one.take: one for one in rows if one.system == name} for name in (system, other))
        takes = [take for take in own if take in its]
        pieces = [own[take].piece for take in takes]
        a, b = ([one[take].scores["si_sdr_improvement_db"] for take in takes] for one in (own, its))
        if len(set(pieces)) > 1:
            mean, low, high = paired_interval(a, b, pieces, n_resamples=2000, rng=np.random.default_rng(0))
            print(f"| {group} | {len(takes)} | {len(set(pieces))} | {mean:+.2f} [{low:+.2f}, {high:+.2f}] |")
        elif takes:
            print(f"| {group} | {len(takes)} | 1 | {np.mean(np.subtract(a, b)):+.2f} (one piece: no interval) |")


def follow(data: EnsembleSet, family: SeparationFamily[Any], trained: Path) -> None:
    """Print what swapped and blanked videos change."""
    chosen = probes(data)
    names = [name for take, changed in chosen.items() for name in (take, *changed)]
    mixtures: Lazy[Mixture] = Lazy(dict.fromkeys(names), lambda name: probe_mixture(data, name))
    made = {
        one.take: one.stems
        for one in family.separate(trained, mixtures, systems=(SYSTEM,), accelerator="auto", truth=None)
    }
    print("\n| test duet | figure | dB |\n|---|---|---|")
    for take, (swapped, blanked) in chosen.items():
        figures = causality(
            data.stems(take),
            data.instruments(take),
            sounds=made[take],
            swapped=made[swapped],
            blanked=made[blanked],
        )
        for name, value in figures.items():
            print(f"| {take} | {name} | {value:.1f} |")


def conditions(data: EnsembleSet, sections: Mapping[str, Any], keep: Path, n_steps: int) -> None:
    """Print the gains by what the network is conditioned on."""
    print(f"\nall rows: {n_steps} steps")
    found: list[TakeScores] = []
    with tempfile.TemporaryDirectory() as scratch:
        for number, (row, changes) in enumerate(CONDITIONS.items()):
            section = dict(sections["wave_unet"]) | {"n_steps": n_steps} | changes
            out = keep / f"conditions_{number}_{n_steps}"
            family = fitted(data, "wave_unet", section, out)
            rows = scored(data, family, out, Path(scratch) / str(number))
            found += [replace(one, system=row) for one in rows if one.system == SYSTEM]
            if not number:
                found += [replace(one, system="blind") for one in rows if one.system == BLIND]
    table(found)


def speed(data: EnsembleSet, sections: Mapping[str, Any], keep: Path) -> None:
    """Print how fast whole mixes are separated, and the largest difference that cutting them into pieces makes."""
    fitted(data, "wave_unet", sections["wave_unet"], keep / "wave_unet")
    params = WaveUnetParams.model_validate(sections["wave_unet"])
    takes: dict[int, str] = {}
    for take in data.takes("test"):
        takes.setdefault(len(data.instruments(take)), take)
    print("\n| system | players | mix, s | times real time | seams, dB |\n|---|---|---|---|---|")
    for system in (SYSTEM, BLIND):
        separator = Separator.load(keep / "wave_unet", system, torch.device("cpu"))
        for n_players, take in sorted(takes.items()):
            mixture = mixture_of(data, take)
            mixture = lengthened(mixture, 3)
            duration_s = mixture.audio.shape[1] / mixture.sample_rate
            separator(mixture)
            began = time.monotonic()
            separator(mixture)
            spent_s = time.monotonic() - began
            condition = None
            if separator.network.config.n_conditions:
                found = conditions_of(mixture, params.conditioned_on, separator.transcriber)
                grid = on_grid(found, mixture, params.condition_hop, mixture.audio.shape[1])
                condition = torch.from_numpy(grid)[None]
            mix = torch.from_numpy(mixture.audio / mixture.audio.std())
            whole, pieces = (
                separate_whole(separator.network, mix, condition, n_output=round(length_s * mixture.sample_rate))
                for length_s in (duration_s, params.output_s / 3)
            )
            loudest = float((whole - pieces).abs().max() / whole.abs().max())
            print(
                f"| {system} | {n_players} | {duration_s:.0f} | {duration_s / spent_s:.1f} "
                f"| {20 * np.log10(max(loudest, 1e-9)):.0f} |"
            )


def lengthened(mixture: Mixture, times: int) -> Mixture:
    """Return a mix played several times in a row."""
    return replace(
        mixture,
        audio=np.tile(mixture.audio, (1, times)),
        motion=None if mixture.motion is None else np.tile(mixture.motion, (1, times, 1)),
        pictures=None if mixture.pictures is None else np.tile(mixture.pictures, (1, times, 1, 1)),
        rolls=None if mixture.rolls is None else np.tile(mixture.rolls, (1, times, 1)),
    )


if __name__ == "__main__":
    raise SystemExit(main())
