"""Family ``wave_unet``: a mix taken apart by a Wave-U-Net that is told who plays, by sight or by word.

``wave_unet`` is asked for each player by what is known of him; ``wave_unet_blind`` is the same backbone trained for
the same steps without anything, its outputs in no order (permutation-invariant training: Yu et al., ICASSP 2017).
Training mixes are made of training players anew in each step (mix and separate: Zhao et al., The Sound of Pixels).
Who knows a player's instrument also knows what its notes sound like, from the training stems: masks begin with that.

``fidelity: original`` is vimss' TensorFlow code, ``port`` its PyTorch port (SYSTEMS: URMP, 13 slots), with what was
wrong in them: two players of one instrument overwrite each other, labels are those of other items, the loss counts
padded targets (original); all slots get one output, and what says that no condition is meant turns it on (port). Both
choose weights by the data they were trained on, where the originals took the test set, which is never opened here.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn
from torch.nn import functional

from models.player_reader import N_MOMENTARY, PlayerReader
from models.wave_unet import SHARED_OVER, Conditioning, Place, WaveUnet, WaveUnetConfig, factorize, middle
from tasks.errors import BadInput, ParamsError
from tasks.families.networks import deterministic_torch, load_network, save_network, torch_device
from tasks.families.reading import N_SEEN, fit_reader, load_reader, read_view, with_moments
from tasks.families.separation import Mixture, Separation, SeparationFamily, mixture_of
from tasks.families.trained import load_facts
from tasks.instruments.orchestra import ORCHESTRA, SLOTS
from tasks.params import Section
from tasks.store.ensembles import N_PITCHES, EnsembleSet, slots

SYSTEM, BLIND = "wave_unet", "wave_unet_blind"
PADDED = 2  # samples on each side of the published targets that are zeros
DICTIONARY_FRAMES = 4000  # of an instrument, that its spectra are learned from
DICTIONARY_ITERATIONS = 20
SILENT_ERROR = 1e-3  # of mixes at level 1

Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, le=1)]
Told = Literal["labels", "classifier", "motion", "onsets_seen", "notes_seen", "score"]
NAMES_TOLD, NOTES_TOLD = ("labels", "classifier"), ("score", "notes_seen")  # the surer one first
READ: frozenset[Told] = frozenset({"classifier", "onsets_seen", "notes_seen"})  # told by the reader of pictures


class WaveUnetParams(Section):
    """How mixes are taken apart.

    Attributes:
        fidelity: ``corrected``; ``original`` and ``port`` put published values in place of those marked *.
        told_by: what a player is asked for by: ``labels`` (his instrument, from the metadata), ``classifier`` (his
            instrument, from his pictures), ``motion`` (optical flow of his view), ``onsets_seen`` (when a network that
            learned from pictures with notes sees notes begin and last), ``notes_seen`` (that and which: pictures as
            small as these hardly tell pitches of players it has not learned from), ``score``.
        conditioning: * how that enters the network.
        place: * where.
        max_players: outputs of the blind network, and the most that a training mix has.
        n_layers: of the backbone.
        n_filters: that each layer has more.
        down_kernel: samples.
        up_kernel: samples.
        upsampling: ``linear`` or ``learned``.
        with_context: convolutions without padding.
        n_fft: of a spectral path beside the waveform's; 0 is the published network.
        spectrum_hop: samples between its windows.
        n_spectral: features of its layers.
        n_iterations: of the factorization by note spectra of the training stems, which the masks begin with; 0 leaves
            the dictionary out.
        n_read: features that are made of what a player is asked for by.
        condition_hop: samples between two of its moments.
        segment_s: * length of a training mix.
        same_take: share of the training mixes whose players play together; the others are put together by chance.
        same_instrument: share of those by chance in which two play one instrument.
        empty: share of the training mixes in which one who is asked for is not seen and not heard.
        gain_db: players are louder or softer by at most this.
        n_steps: trainings' steps.
        steps_per_epoch: between two validations.
        batch_size: mixes.
        learning_rate: * highest of a cycle.
        clip_norm: of gradients.
        precision: Lightning's word.
        held_s: seconds of training players that memory holds at most.
        n_validation_mixes: of validation takes, as they were played.
        reader_filters: of the first layer of the reader of pictures.
        reader_hidden: features of its others.
        reader_steps: of its training.
        reader_batch_size: players.
        output_s: of a mix that is taken apart at a time.
        n_threads: of the CPU: another number may give other weights.
        seed: of everything drawn.
    """

    fidelity: Literal["corrected", "original", "port"]
    told_by: Annotated[tuple[Told, ...], Field(min_length=1)]
    conditioning: Conditioning
    place: Place
    max_players: Annotated[int, Field(ge=2, le=13)]
    n_layers: Annotated[int, Field(ge=1, le=14)]
    n_filters: Count
    down_kernel: Count
    up_kernel: Count
    upsampling: Literal["linear", "learned"]
    with_context: bool
    n_fft: Annotated[int, Field(ge=0, multiple_of=2)]
    spectrum_hop: Count
    n_spectral: Count
    n_iterations: Annotated[int, Field(ge=0)]
    n_read: Count
    condition_hop: Count
    segment_s: Annotated[float, Field(gt=0, le=60)]
    same_take: Share
    same_instrument: Share
    empty: Share
    gain_db: Annotated[float, Field(ge=0, le=40)]
    n_steps: Count
    steps_per_epoch: Count
    batch_size: Count
    learning_rate: Annotated[float, Field(gt=0)]
    clip_norm: Annotated[float, Field(gt=0)]
    precision: Literal["32-true", "bf16-mixed", "16-mixed"]
    held_s: Annotated[float, Field(gt=0)]
    n_validation_mixes: Count
    reader_filters: Count
    reader_hidden: Count
    reader_steps: Count
    reader_batch_size: Count
    output_s: Annotated[float, Field(gt=0)]
    n_threads: Count
    seed: int


class WaveUnetFamily(SeparationFamily[WaveUnetParams]):
    """Two systems: told, and blind."""

    params_class: ClassVar[type[Section]] = WaveUnetParams
    systems: ClassVar[tuple[str, ...]] = (SYSTEM, BLIND)
    unordered: ClassVar[frozenset[str]] = frozenset({BLIND})
    sighted: ClassVar[frozenset[str]] = frozenset({SYSTEM})

    def fit(self, data: EnsembleSet, out: Path, *, params: WaveUnetParams, resume: Path, accelerator: str) -> None:
        """Train the reader of pictures where it is asked, then both networks for the same steps.

        Raises:
            ParamsError: a value makes no sense, or nobody plays in a part of the split.
        """
        from tasks.families.training import fit_network  # Lightning's import outlasts what the other stages do

        ensembles = EnsembleSet(data.folder, instruments=SLOTS)
        _check(params, ensembles)
        fit: dict[str, Any] = {"out": out, "resume": resume, "accelerator": accelerator}
        with deterministic_torch(seed=params.seed, n_threads=params.n_threads):
            reader = None
            if READ & set(params.told_by) and params.fidelity == "corrected":
                reader = fit_reader(ensembles, params, fit)
            bank = Bank(ensembles, params, reader)
            for system in self.systems:
                torch.manual_seed(params.seed)
                config = config_of(params, system, n_channels=ensembles.n_channels, n_motion=ensembles.n_motion)
                n_samples = segment_samples(params, config, ensembles.sample_rate)
                network = WaveUnet(config)
                if config.n_pitches and network.spectral is not None and network.spectral.notes is not None:
                    network.spectral.notes.spectra.copy_(learn_note_spectra(ensembles, config))

                def make_batch(
                    epoch: int, step: int, config: WaveUnetConfig = config, n_samples: int = n_samples
                ) -> tuple[Tensor, Tensor, Tensor]:
                    rng = np.random.default_rng((params.seed, epoch, step))
                    return bank.batch(rng, config, n_samples)

                best = fit_network(
                    network,
                    partial(mix_loss, params=params),
                    partial(_optimizer, params=params),
                    make_batch,
                    bank.validation(config, n_samples),
                    system=system,
                    n_epochs=max(1, params.n_steps // params.steps_per_epoch),
                    n_steps_per_epoch=params.steps_per_epoch,
                    precision=params.precision,
                    gradient_clip_norm=params.clip_norm,
                    **fit,
                )
                network.load_state_dict(best)
                facts = {
                    "network": asdict(config),
                    "told_by": [] if system == BLIND else list(params.told_by),
                    "sample_rate": ensembles.sample_rate,
                    "n_channels": ensembles.n_channels,
                    "slots": list(SLOTS) if has_slots(params) else [],
                    "output_s": params.output_s,
                    "n_threads": params.n_threads,
                }
                save_network(out / system, network.state_dict(), facts)

    def shortest_s(self, trained: Path, system: str) -> float:
        """Return how long a window of the network's bottleneck is, in s."""
        facts = load_facts(trained / system, {"network": dict, "sample_rate": int})
        return float(2 ** int(facts["network"]["n_layers"]) / facts["sample_rate"])

    def separate(
        self,
        trained: Path,
        mixtures: Mapping[str, Mixture],
        *,
        accelerator: str,
        truth: Mapping[str, NDArray[np.float32]] | None,  # noqa: ARG002 - this family hears the mix alone
    ) -> Iterator[Separation]:
        """Take every mix apart by both networks.

        Raises:
            DamagedData: what was trained is missing or damaged.
            BadInput: a mix has another rate or other channels than the networks were trained on, or is too short, or
                nothing is known of its players that the network asks for.
        """
        device = torch_device(accelerator)
        separators = {system: Separator.load(trained, system, device) for system in self.systems}
        for take, mixture in mixtures.items():
            for system, separator in separators.items():
                stems = separator(mixture, name=take)
                yield Separation(system=system, take=take, stems=stems, sample_rate=mixture.sample_rate)


class Separator:
    """A trained network, and what it must be told."""

    def __init__(
        self,
        network: WaveUnet,
        facts: Mapping[str, Any],
        reader: PlayerReader | None,
        device: torch.device,
    ) -> None:
        self.network = network.to(device).eval()
        self.sample_rate = int(facts["sample_rate"])
        self.told_by: tuple[Told, ...] = tuple(facts["told_by"])
        self.slots: tuple[str, ...] = tuple(facts["slots"])
        self.output_s = float(facts["output_s"])
        self.n_threads = int(facts["n_threads"])
        self._reader = reader
        self._device = device

    @classmethod
    def load(cls, trained: Path, system: str, device: torch.device) -> "Separator":
        """Read what `WaveUnetFamily.fit` wrote of a system.

        Raises:
            DamagedData: a file is missing, or not what is written there.
        """
        needed = {"told_by": tuple, "slots": tuple, "sample_rate": int, "output_s": float, "n_threads": int}
        network, facts = load_network(
            trained / system, lambda facts: WaveUnet(WaveUnetConfig(**facts["network"])), needed
        )
        reader = load_reader(trained) if READ & set(facts["told_by"]) and not facts["slots"] else None
        return cls(network, facts, reader, device)

    def __call__(self, mixture: Mixture, *, name: str = "the mix") -> NDArray[np.float32]:
        """Return a mix's sounds (S, C, n): a player's each, or in no order where the network is blind.

        Raises:
            BadInput: as `WaveUnetFamily.separate`.
        """
        config, n_samples = self.network.config, mixture.audio.shape[1]
        if mixture.sample_rate != self.sample_rate:
            raise BadInput(f"{name} is at {mixture.sample_rate} Hz, expected {self.sample_rate} Hz", kind="OTHER_RATE")
        if len(mixture.audio) != config.n_channels:
            raise BadInput(
                f"{name} has {len(mixture.audio)} channels, expected {config.n_channels}", kind="OTHER_CHANNELS"
            )
        if n_samples < config.hop:
            raise BadInput(
                f"{name} lasts {n_samples / self.sample_rate:.3f} s, expected at least a window of "
                f"{config.hop / self.sample_rate:.3f} s",
                kind="TOO_SHORT",
            )
        conditions = None
        if self.slots:
            conditions = torch.from_numpy(presence(mixture.instruments))[None] if config.n_conditions else None
        elif config.n_conditions:
            told = told_of(mixture, self.told_by, self._reader, name=name)
            conditions = torch.from_numpy(on_grid(told, mixture, config.condition_hop, n_samples))[None]
        level = level_of(mixture.audio)
        with deterministic_torch(seed=0, n_threads=self.n_threads):
            sounds = separate_whole(
                self.network,
                torch.from_numpy(mixture.audio / np.float32(level)).to(self._device),
                None if conditions is None else conditions.to(self._device),
                n_output=round(self.output_s * self.sample_rate),
            )
        stems: NDArray[np.float32] = sounds.cpu().numpy() * np.float32(level)
        if not config.n_conditions:
            return loudest(stems, len(mixture.instruments))
        if self.slots:
            shared = [mixture.instruments.count(code) for code in mixture.instruments]
            stems = np.stack(
                [stems[self.slots.index(code)] / n for code, n in zip(mixture.instruments, shared, strict=True)]
            )
        return stems


def loudest(sounds: NDArray[np.float32], n: int) -> NDArray[np.float32]:
    """Return the ``n`` loudest of sounds (S, C, n) in their order; with too few, silent ones are added."""
    if len(sounds) < n:
        return np.concatenate([sounds, np.zeros((n - len(sounds), *sounds.shape[1:]), np.float32)])
    energies = np.square(sounds, dtype=np.float64).sum(axis=(1, 2))
    return sounds[np.sort(np.argsort(-energies, kind="stable")[:n])]


@torch.no_grad()
def separate_whole(network: WaveUnet, mix: Tensor, condition: Tensor | None, *, n_output: int) -> Tensor:
    """Take a mix of any length apart in pieces that overlap by all that an answer follows from: no seams.

    Args:
        network: in evaluation mode.
        mix: (C, n).
        condition: as `WaveUnet.forward` takes it, with a batch of 1, over the whole mix; or None.
        n_output: samples that are answered at a time, about.

    Returns:
        (S, C, n): sources, or players.
    """
    config, n_samples = network.config, mix.shape[-1]
    hop = max(1, round(n_output / config.hop)) * config.hop  # whole steps of the bottleneck: all pieces are in phase
    hop = min(hop, -(-n_samples // config.hop) * config.hop)
    # What lies beside an answer is heard, but for what sharing out the rest looks at beyond it.
    beside = SHARED_OVER // 2 if config.with_context and config.is_consistent else 0
    _, n_input, n_answer = config.lengths(hop + 2 * beside)
    margin = (n_input - n_answer) // 2 + beside if config.with_context else config.margin
    cut = beside if config.with_context else margin
    span = n_input if config.with_context else hop + 2 * margin
    n_pieces = -(-n_samples // hop)
    # What lies ahead of the mix is a whole number of the condition's moments.
    ahead = -(-margin // config.condition_hop) * config.condition_hop
    padded = functional.pad(mix, (ahead, (n_pieces - 1) * hop + span - margin - n_samples))
    moments = None if condition is None else network.read(condition)
    changes = moments is not None and moments.shape[-1] > 1
    if moments is not None and changes:
        first = moments[..., :1].expand(*moments.shape[:-1], ahead // config.condition_hop)
        moments = torch.cat([first, moments], dim=-1)
    answers = []
    for piece in range(n_pieces):
        start = piece * hop + ahead - margin
        told = moments
        if moments is not None and changes:
            rows = torch.arange(-(-span // config.condition_hop), device=moments.device)
            rows = (rows + start // config.condition_hop).clamp(max=moments.shape[-1] - 1)
            told = moments[..., rows]
        answer = network(padded[None, :, start : start + span], told, is_read=True)[0]
        answers.append(answer[..., cut : cut + hop])
    return torch.cat(answers, dim=-1)[..., :n_samples]


def level_of(audio: NDArray[np.float32]) -> float:
    """Return what a mix (C, n) is divided by, so that soft ones are heard as loud ones: its root mean square."""
    return max(float(np.sqrt(np.mean(np.square(audio, dtype=np.float64)))), 1e-5)


def presence(instruments: Sequence[str]) -> NDArray[np.float32]:
    """Return which of the thirteen play (13,): 1 or 0, in the order of the slots."""
    return np.asarray(slots(np.ones(len(instruments), np.float32), instruments, SLOTS) > 0, np.float32)


def told_of(
    mixture: Mixture, told_by: Sequence[Told], reader: PlayerReader | None, *, name: str = "the mix"
) -> NDArray[np.float32]:
    """Return what is told of each player over the pictures' time (K, D, T).

    Raises:
        BadInput: ``UNSEEN``, there are no pictures, or no score, of a mix's players.
    """
    needed = {
        "classifier": mixture.pictures,
        "motion": mixture.motion,
        "onsets_seen": mixture.pictures if mixture.motion is not None else None,
        "notes_seen": mixture.pictures if mixture.motion is not None else None,
        "score": mixture.rolls,
    }
    for word, found in needed.items():
        if word in told_by and found is None:
            raise BadInput(f"{name} comes without what its players are asked for by: {word}", kind="UNSEEN")
    known = next((found for found in (mixture.motion, mixture.pictures, mixture.rolls) if found is not None), None)
    n_frames = 1 if known is None else known.shape[1]
    read: list[tuple[NDArray[np.float32], NDArray[np.float32]]] = []
    if READ & set(told_by):
        if reader is None or mixture.pictures is None:
            raise ValueError("pictures are to be read, and there is nobody who reads")
        motion = np.zeros((len(mixture.pictures), n_frames, reader.config.n_motion), np.float32)
        motion = motion if mixture.motion is None else mixture.motion
        read = [read_view(reader, *view) for view in zip(mixture.pictures, motion, strict=True)]
    parts = []
    for word in told_by:
        if word == "labels":
            part = np.stack([presence([code]) for code in mixture.instruments])[:, :, None]
        elif word == "classifier":
            part = np.stack([instruments for instruments, _ in read])[:, :, None]
        elif word in ("onsets_seen", "notes_seen"):
            part = np.stack([notes.T[-n_told([word], 0) :] for _, notes in read])
        elif word == "motion":
            part = np.asarray(mixture.motion, np.float32).transpose(0, 2, 1)
        else:
            rolls = np.zeros((0, 1, N_PITCHES), np.uint8) if mixture.rolls is None else mixture.rolls
            part = np.stack([with_moments(roll > 0, None, mixture.frame_rate).T for roll in rolls])
        parts.append(np.broadcast_to(part, (*part.shape[:2], n_frames)))
    return np.concatenate(parts, axis=1).astype(np.float32)


def n_told(told_by: Sequence[Told], n_motion: int) -> int:
    """Return how many numbers `told_of` gives a player."""
    sizes = {
        "labels": len(SLOTS),
        "classifier": len(SLOTS),
        "motion": n_motion,
        "onsets_seen": N_MOMENTARY,
        "notes_seen": N_SEEN,
        "score": N_SEEN,
    }
    return sum(sizes[word] for word in told_by)


def on_grid(
    told: NDArray[np.float32], mixture: Mixture, hop: int, n_samples: int, *, start: int = 0
) -> NDArray[np.float32]:
    """Return what is told over time (K, D, T) at every ``hop`` samples of a mix from sample ``start`` on."""
    rate = mixture.frame_rate / mixture.sample_rate
    moments = (start + np.arange(-(-n_samples // hop)) * hop) * rate.numerator // rate.denominator
    rows = np.minimum(moments, told.shape[-1] - 1)
    return told[..., rows]


def has_slots(params: WaveUnetParams) -> bool:
    """Say whether each instrument has an output of its own, as published."""
    return params.fidelity != "corrected"


def config_of(params: WaveUnetParams, system: str, *, n_channels: int, n_motion: int) -> WaveUnetConfig:
    """Return the sizes of a system's network."""
    sizes = WaveUnetConfig(
        n_fft=params.n_fft if params.fidelity == "corrected" else 0,
        spectrum_hop=params.spectrum_hop,
        n_spectral=params.n_spectral,
        n_channels=n_channels,
        n_layers=params.n_layers,
        n_filters=params.n_filters,
        down_kernel=params.down_kernel,
        up_kernel=params.up_kernel,
        upsampling=params.upsampling,
        with_context=params.with_context,
        condition_hop=params.condition_hop,
    )
    if system == BLIND:
        return replace(sizes, n_sources=params.max_players, is_bounded=False)
    if params.fidelity == "original":
        return replace(
            sizes,
            n_sources=len(SLOTS),
            output="difference",
            conditioning="copies",
            n_conditions=len(SLOTS),
            mixes_conditions=True,
        )
    if params.fidelity == "port":  # its default says 'none', which is true, so that labels are multiplied all the same
        return replace(
            sizes,
            n_sources=len(SLOTS),
            conditioning="multiplicative",
            n_conditions=len(SLOTS),
            shares_output=True,
            normalize=True,
        )
    return replace(
        sizes,
        n_sources=1,
        conditioning=params.conditioning,
        place=params.place,
        n_conditions=n_told(params.told_by, n_motion),
        n_read=params.n_read,
        **_dictionary_sizes(params, n_motion),
        asks=True,
        is_consistent=True,
        is_bounded=False,
    )


def _dictionary_sizes(params: WaveUnetParams, n_motion: int) -> dict[str, Any]:
    """Return what `WaveUnetConfig` says of the dictionary: nothing where no instrument is told, or it is left out."""
    at = {word: n_told(params.told_by[:place], n_motion) for place, word in enumerate(params.told_by)}
    names, notes = ([at[word] for word in words if word in at] for words in (NAMES_TOLD, NOTES_TOLD))
    onsets = [found + N_PITCHES for found in notes] + [at[word] for word in ("onsets_seen",) if word in at]
    if not (params.n_iterations and params.n_fft and names):
        return {}
    lowest = min(instrument.lowest for instrument in ORCHESTRA.values())
    return {
        "n_pitches": max(instrument.highest for instrument in ORCHESTRA.values()) + 1 - lowest,
        "lowest_pitch": lowest,
        "n_instruments": len(SLOTS),
        "instruments_at": names[0],
        "notes_at": notes[0] if notes else -1,
        "onsets_at": onsets[0] if onsets else -1,
        "n_iterations": params.n_iterations,
    }


def learn_note_spectra(data: EnsembleSet, config: WaveUnetConfig) -> Tensor:
    """Return what each note of each instrument looks like, from the training stems whose notes are known.

    A stem is factorized with one spectrum a pitch, which begins as a harmonic comb and is free to be strong where the
    score has the note. Pitches that nobody plays get a neighbour's spectrum, moved; instruments that nobody plays what
    the others have together.

    Returns:
        (N, P, bins) magnitudes, each of length 1; zeros beyond an instrument's compass.
    """
    seen: dict[str, list[tuple[Tensor, Tensor]]] = {}
    for take in data.takes("train"):
        for code, stem, roll in zip(data.instruments(take), data.stems(take), data.rolls(take), strict=True):
            if roll.any():
                seen.setdefault(code, []).append(_frames_of_notes(stem, roll, data, config))
    n_bins = config.n_fft // 2 + 1
    pitches = np.arange(config.lowest_pitch, config.lowest_pitch + config.n_pitches)
    bin_hz = data.sample_rate / config.n_fft
    combs = torch.from_numpy(np.stack([_comb(int(pitch), n_bins, bin_hz) for pitch in pitches]))
    spectra = torch.zeros(config.n_instruments, config.n_pitches, n_bins)
    for code, found in seen.items():
        magnitudes, sounding = (torch.cat(part, dim=-1) for part in zip(*found, strict=True))
        every = max(1, magnitudes.shape[-1] // DICTIONARY_FRAMES)
        magnitudes, sounding = magnitudes[:, ::every], sounding[:, ::every]
        played = torch.nonzero(sounding.any(dim=1)).ravel()
        learned = _learned(magnitudes, combs[played], sounding[played].float())
        own = ORCHESTRA[code]
        for row in range(max(own.lowest - config.lowest_pitch, 0), own.highest + 1 - config.lowest_pitch):
            nearest = int((played - row).abs().argmin())
            ratio = 2 ** ((int(played[nearest]) - row) / 12)
            moved = np.interp(np.arange(n_bins) * ratio, np.arange(n_bins), learned[nearest].numpy(), right=0.0)
            spectra[SLOTS.index(code), row] = torch.from_numpy(moved / max(np.linalg.norm(moved), 1e-12))
    known = spectra.abs().sum(dim=2, keepdim=True) > 0
    together = torch.where(known.any(dim=0), spectra.sum(dim=0) / known.sum(dim=0).clamp(min=1), combs)
    for code in ORCHESTRA.keys() - seen.keys():
        own = ORCHESTRA[code]
        compass = (torch.from_numpy(pitches) >= own.lowest) & (torch.from_numpy(pitches) <= own.highest)
        spectra[SLOTS.index(code)] = together * compass[:, None]
    return functional.normalize(spectra, dim=2)


def _frames_of_notes(
    stem: NDArray[np.float32], roll: NDArray[np.uint8], data: EnsembleSet, config: WaveUnetConfig
) -> tuple[Tensor, Tensor]:
    """Return magnitudes (bins, T) of a stem's frames at one level, and which pitches may sound in each (P, T)."""
    audio = torch.from_numpy(stem / np.float32(level_of(stem)))
    window = torch.hann_window(config.n_fft)
    options: dict[str, Any] = {"window": window, "pad_mode": "constant", "return_complex": True}
    magnitudes = torch.stft(audio, config.n_fft, config.spectrum_hop, **options).abs().mean(dim=0)
    rate = data.frame_rate / data.sample_rate
    rows = np.arange(magnitudes.shape[1]) * config.spectrum_hop * rate.numerator // rate.denominator
    own = roll[np.minimum(rows, len(roll) - 1), config.lowest_pitch : config.lowest_pitch + config.n_pitches].T > 0
    # A note is heard longer than it is written.
    near = functional.max_pool1d(torch.from_numpy(own).float()[None], 5, stride=1, padding=2)[0]
    sounding = magnitudes.norm(dim=0) > 0
    return magnitudes[:, sounding], near[:, sounding] > 0


def _learned(magnitudes: Tensor, spectra: Tensor, sounding: Tensor) -> Tensor:
    """Return the spectra (R, bins) that magnitudes (bins, T) are made of where each may sound (R, T)."""
    strengths = sounding * magnitudes.norm(dim=0)
    for _ in range(DICTIONARY_ITERATIONS):
        strengths = factorize(magnitudes[None], spectra[None], strengths[None], n_iterations=1)[0]
        spectra = factorize(magnitudes.T[None], strengths[None], spectra[None], n_iterations=1)[0]
        spectra = functional.normalize(spectra, dim=1)
    return spectra


def _comb(pitch: int, n_bins: int, bin_hz: float) -> NDArray[np.float32]:
    """Return a spectrum of harmonics that fade by 2 dB each: (bins,)."""
    partials_hz = 440 * 2 ** ((pitch - 69) / 12) * np.arange(1, 60)
    nearness = np.exp(-0.5 * (np.arange(n_bins)[:, None] - partials_hz / bin_hz) ** 2)
    comb = 1e-4 + nearness @ (0.8 ** np.arange(1, 60))
    return np.asarray(comb / np.linalg.norm(comb), np.float32)


def segment_samples(params: WaveUnetParams, config: WaveUnetConfig, sample_rate: int) -> int:
    """Return how long a training mix is."""
    return config.lengths(round(params.segment_s * sample_rate))[1]


class Bank:
    """The training players in memory, and the mixes that are made of them.

    Args:
        data: the ensembles; test takes are never opened.
        params: of the family.
        reader: of their pictures; None where it is not asked.
    """

    def __init__(self, data: EnsembleSet, params: WaveUnetParams, reader: PlayerReader | None) -> None:
        self._params = params
        self._takes: list[_Players] = []
        train = data.takes("train")
        held_s = 0.0
        for row in np.random.default_rng(params.seed).permutation(len(train)):
            players = _Players(data, train[row], params, reader)
            held_s += data.duration_s(train[row]) * len(players.stems)
            if self._takes and held_s > params.held_s:
                break
            self._takes.append(players)
        # What the originals judged by, the test set, is closed: the training takes stand for it.
        judges = "validation" if params.fidelity == "corrected" else "train"
        self._validation = [_Players(data, take, params, reader) for take in data.takes(judges)]
        self._players = [(take, player) for take in self._takes for player in range(len(take.stems))]
        self._by_instrument: dict[str, list[tuple[_Players, int]]] = {}
        for take, player in self._players:
            self._by_instrument.setdefault(take.mixture.instruments[player], []).append((take, player))

    def batch(self, rng: np.random.Generator, config: WaveUnetConfig, n_samples: int) -> tuple[Tensor, Tensor, Tensor]:
        """Draw mixes of one number of players.

        Returns:
            The mixes (B, C, n), what their players are asked for by (B, K, D, T) or which of the slots play (B, 13)
            (empty for a blind network), and the sounds that are asked for (B, S, C, n).
        """
        params = self._params
        n_players = int(rng.choice(_weights_of(params.max_players)))
        rows = [self._draw(rng, n_players, n_samples) for _ in range(params.batch_size)]
        return self._stack(rows, config, n_samples, rng)

    def validation(self, config: WaveUnetConfig, n_samples: int) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Return mixes of the validation takes as they were played, a batch each, evenly over takes and time."""
        batches = []
        for number in range(self._params.n_validation_mixes):
            take = self._validation[number % len(self._validation)]
            n_each = -(-self._params.n_validation_mixes // len(self._validation))
            share = (number // len(self._validation) + 0.5) / n_each
            start = int(share * max(take.n_samples - n_samples, 0))
            rows = [(take, player, start) for player in range(min(len(take.stems), self._params.max_players))]
            batches.append(self._stack([rows], config, n_samples, None))
        return batches

    def _draw(self, rng: np.random.Generator, n_players: int, n_samples: int) -> list[tuple["_Players", int, int]]:
        params = self._params
        drawn: list[tuple[_Players, int, int]] = []
        if rng.random() < params.same_take:
            take = self._takes[rng.integers(len(self._takes))]
            start = int(rng.integers(max(take.n_samples - n_samples, 0) + 1))
            chosen = rng.permutation(len(take.stems))[:n_players]
            drawn = [(take, int(player), start) for player in chosen]
        while len(drawn) < n_players:
            pool = self._players
            if drawn and rng.random() < params.same_instrument:
                before, other, _ = drawn[-1]
                pool = self._by_instrument[before.mixture.instruments[other]]
            take, player = pool[rng.integers(len(pool))]
            drawn.append((take, player, int(rng.integers(max(take.n_samples - n_samples, 0) + 1))))
        return drawn

    def _stack(
        self,
        rows: Sequence[Sequence[tuple["_Players", int, int]]],
        config: WaveUnetConfig,
        n_samples: int,
        rng: np.random.Generator | None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        mixes, told, sounds = [], [], []
        for players in rows:
            stems = np.stack([take.stem(player, start, n_samples) for take, player, start in players])
            levels = np.array([take.levels[player] for take, player, _ in players])
            if rng is not None:
                gains = 10 ** (rng.uniform(-self._params.gain_db, self._params.gain_db, len(stems)) / 20)
                stems, levels = stems * gains[:, None, None].astype(np.float32), levels * gains
            silent = None
            if rng is not None and rng.random() < self._params.empty:
                silent = int(rng.integers(len(stems)))
                stems[silent], levels[silent] = 0.0, 0.0
            # A whole mix is heard at level 1: so loud on the average is the one that this is a part of.
            stems = stems / np.float32(np.sqrt(np.square(levels).sum()))
            mixes.append(stems.sum(axis=0))
            codes = [take.mixture.instruments[player] for take, player, _ in players]
            if config.asks:
                grid = {"hop": config.condition_hop, "n_samples": n_samples}
                asked = [
                    on_grid(take.told[[player]], take.mixture, **grid, start=start) for take, player, start in players
                ]
                if silent is not None:
                    asked[silent] = np.zeros_like(asked[silent])
                told.append(np.concatenate(asked))
                sounds.append(stems)
            elif has_slots(self._params) and config.n_conditions:
                told.append(presence(codes))
                sounds.append(
                    overwritten_slots(stems, codes)
                    if self._params.fidelity == "original"
                    else slots(stems, codes, SLOTS)
                )
            else:
                told.append(np.zeros(0, np.float32))
                rest = np.zeros((config.n_sources - len(stems), *stems.shape[1:]), np.float32)
                sounds.append(np.concatenate([stems, rest]))
        return tuple(torch.from_numpy(np.stack(part).astype(np.float32)) for part in (mixes, told, sounds))  # type: ignore[return-value]


def overwritten_slots(stems: NDArray[np.float32], codes: Sequence[str]) -> NDArray[np.float32]:
    """Return the published slots (13, C, n): of two players of one instrument the last one stays."""
    slotted = np.zeros((len(SLOTS), *stems.shape[1:]), np.float32)
    for stem, code in zip(stems, codes, strict=True):
        slotted[SLOTS.index(code)] = stem
    return slotted


class _Players:
    """One take's players as training needs them: sounds in 16 bits, and what is told of each."""

    def __init__(self, data: EnsembleSet, take: str, params: WaveUnetParams, reader: PlayerReader | None) -> None:
        mixture = mixture_of(data, take)
        stems = data.stems(take)
        self.told = np.zeros((len(stems), 0, 1), np.float32)
        if not has_slots(params):
            self.told = told_of(mixture, params.told_by, reader, name=take).astype(np.float16)
        self.levels = [level_of(stem) for stem in stems]
        self.stems = np.rint(stems * 32767).astype(np.int16)
        self.n_samples = stems.shape[2]
        # Pictures are told of already: what is kept is small.
        self.mixture = replace(
            mixture, audio=np.zeros((len(mixture.audio), 0), np.float32), motion=None, pictures=None, rolls=None
        )

    def stem(self, player: int, start: int, n_samples: int) -> NDArray[np.float32]:
        found = self.stems[player, :, start : start + n_samples].astype(np.float32) / np.float32(32767)
        return np.pad(found, ((0, 0), (0, n_samples - found.shape[1])))


def _optimizer(
    parameters: Iterable[nn.Parameter], params: WaveUnetParams
) -> torch.optim.Optimizer | tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    if params.fidelity == "original":
        optimizer = torch.optim.Adam(parameters, lr=1e-5)
        return optimizer, torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.96 ** (1 / 2000))
    if params.fidelity == "port":
        return torch.optim.Adam(parameters, lr=1e-4, weight_decay=5e-4)
    optimizer = torch.optim.Adam(parameters, lr=params.learning_rate)
    n_steps = max(1, params.n_steps // params.steps_per_epoch) * params.steps_per_epoch
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, params.learning_rate, total_steps=n_steps, pct_start=0.05)
    return optimizer, schedule


def mix_loss(network: WaveUnet, batch: tuple[Tensor, Tensor, Tensor], *, params: WaveUnetParams) -> Tensor:
    """Return the loss of a batch as `Bank.batch` returns it: of the published networks the summed squared error."""
    mix, told, sounds = batch
    found = network(mix, told if told.shape[1] else None).float()
    if has_slots(params) and told.shape[1]:
        edge = 0
        if params.fidelity == "original":  # targets of 16,384 samples are padded to the answer's 16,389
            edge = min(PADDED, (found.shape[-1] - 1) // 2)
        target = functional.pad(middle(sounds, found.shape[-1] - 2 * edge), (edge, edge))
        error: Tensor = (found - target).square().sum()
        return error
    target = middle(sounds, found.shape[-1])
    if not told.shape[1]:
        target = best_order(found, target)
    return separation_loss(found, target)


def separation_loss(found: Tensor, target: Tensor) -> Tensor:
    """Return the loss of sounds (B, S, C, n): the mean over sources of their squared error, in dB of the mix.

    A logarithm a source: a soft player's error weighs as much as a loud one's, as it does in the figures. That of a
    player who rests counts no more once it is 30 dB below the mix.
    """
    return 10 * torch.log10((found - target).square().mean(dim=(2, 3)) + SILENT_ERROR).mean()


def best_order(found: Tensor, target: Tensor) -> Tensor:
    """Return the targets (B, S, C, n) in the order in which they fit what was found best, item by item."""
    with torch.no_grad():
        costs = torch.stack(
            [(found - target[:, [source]]).square().mean(dim=(2, 3)) for source in range(target.shape[1])], dim=2
        )
        orders = [torch.from_numpy(linear_sum_assignment(cost)[1]) for cost in costs.cpu().double().numpy()]
    return torch.stack([sounds[order.to(sounds.device)] for sounds, order in zip(target, orders, strict=True)])


def _weights_of(max_players: int) -> list[int]:
    """Return the numbers of players that training mixes have, each as often as it stands here: small ones more."""
    return [n for n in range(2, max_players + 1) for _ in range(max(1, 6 - n))]


def _check(params: WaveUnetParams, data: EnsembleSet) -> None:
    section = f"train.{SYSTEM}"
    for part in ("train", "validation"):
        if not data.takes(part):
            raise ParamsError(f"{section}: no ensemble is in the part for {part}, expected at least one")
    if params.condition_hop & (params.condition_hop - 1):
        raise ParamsError(f"{section}.condition_hop is {params.condition_hop}, expected a power of 2")
    if params.down_kernel % 2 == 0 or params.up_kernel % 2 == 0:
        raise ParamsError(f"{section}: kernels of {params.down_kernel} and {params.up_kernel}, expected odd ones")
    if params.n_fft and params.fidelity == "corrected":
        if params.with_context:
            raise ParamsError(
                f"{section}: masks (n_fft {params.n_fft}) are of the whole mix, expected with_context false"
            )
        if params.spectrum_hop & (params.spectrum_hop - 1) or params.spectrum_hop > 2**params.n_layers:
            raise ParamsError(
                f"{section}.spectrum_hop is {params.spectrum_hop}, expected a power of 2 of at most 2^n_layers, "
                f"{2**params.n_layers}"
            )
    if params.conditioning in ("none", "copies") and params.fidelity == "corrected":
        raise ParamsError(
            f"{section}.conditioning is {params.conditioning}, expected concat, additive, multiplicative or film: "
            f"{BLIND} is the one without"
        )
