"""Parameters of the separation networks, and the sizes of each system's network."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from models.conditioning import Conditioning
from models.wave_unet import Place, WaveUnetConfig
from tasks.errors import ParamsError
from tasks.families.wave_unet.conditions import (
    INSTRUMENT_CONDITIONS,
    ONSET_CONDITIONS,
    PITCH_CONDITIONS,
    TRANSCRIBED,
    Condition,
    n_features,
)
from tasks.families.wave_unet.transcriber import TranscriberParams
from tasks.instruments.orchestra import ORCHESTRA, SLOTS
from tasks.params import Section
from tasks.store.ensembles import N_PITCHES, EnsembleSet

SYSTEM, BLIND = "wave_unet", "wave_unet_blind"
CONDITIONED_ALONE = frozenset({"conditioning", "place", "n_encoded", "n_iterations"})
"""Parameters of the network with conditions alone: the blind one and the published ones have their own."""

Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, le=1)]


class WaveUnetParams(Section):
    """How mixes are separated.

    Attributes:
        fidelity: ``corrected``; ``original`` and ``port`` put published values in place of those marked *.
        conditioned_on: conditions of a player: ``labels`` (the instrument, from the metadata), ``classifier`` (the
            instrument, predicted from the video), ``motion`` (optical flow of the video), ``onsets_video`` (when notes
            begin and when any sounds, predicted from the video), ``pitches_video`` (these and the pitches: pictures as
            small as these hardly show the pitches of players that were not in training), ``score``.
        conditioning: * the method, as `models.conditioning.ConditioningLayer` has it.
        place: * of the conditions in the network.
        max_players: sources of the blind network, and the most that a training mix has.
        n_layers: of the encoder and of the decoder.
        n_filters: channels that each layer has more than the one before.
        down_kernel: of the encoder, in samples.
        up_kernel: of the decoder, in samples.
        upsampling: ``linear`` or ``learned``.
        with_context: convolutions without padding.
        n_fft: of a spectral path beside the waveform path; 0 is the published network.
        spectrum_hop: samples between its frames.
        n_spectral: features of its layers.
        n_iterations: of the factorization by note spectra of the training stems, which initializes the masks; 0 leaves
            the dictionary out.
        n_encoded: features of an encoded condition.
        condition_hop: samples between two of its moments.
        segment_s: * length of a training mix.
        same_take: share of the training mixes whose players are of one take; those of the others are drawn one by one.
        same_instrument: share of the players drawn so who have the instrument of the one before.
        empty: share of the training mixes in which one player's condition and sound are zero.
        gain_db: players' levels are changed by at most this.
        n_steps: of the training of each network.
        steps_per_epoch: between two validations.
        batch_size: mixes.
        learning_rate: * highest of a cycle.
        clip_norm: of gradients.
        precision: Lightning's word.
        held_s: seconds of training players that memory holds at most.
        n_validation_mixes: of validation takes, as they were played.
        transcriber: of players' videos; it is trained where ``conditioned_on`` needs it.
        output_s: of a mix that is separated at a time.
        n_threads: of the CPU: another number may give other weights.
        seed: of everything drawn.
    """

    fidelity: Literal["corrected", "original", "port"]
    conditioned_on: Annotated[tuple[Condition, ...], Field(min_length=1)]
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
    n_encoded: Count
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
    transcriber: TranscriberParams
    output_s: Annotated[float, Field(gt=0)]
    n_threads: Count
    seed: int

    renamed: ClassVar[Mapping[str, str]] = {
        "told_by": "conditioned_on",
        "n_read": "n_encoded",
        "reader_filters": "transcriber.n_filters",
        "reader_hidden": "transcriber.n_hidden",
        "reader_steps": "transcriber.n_steps",
        "reader_batch_size": "transcriber.batch_size",
    }

    @property
    def has_slots(self) -> bool:
        """Whether each instrument has an output of its own, as published."""
        return self.fidelity != "corrected"

    @property
    def needs_transcriber(self) -> bool:
        """Whether a condition is predicted from the video."""
        return bool(TRANSCRIBED & set(self.conditioned_on)) and not self.has_slots


def check(params: WaveUnetParams, data: EnsembleSet) -> None:
    """Check what the types cannot.

    Raises:
        ParamsError: values contradict each other, or a part of the split has no take.
    """
    section = f"train.{SYSTEM}"
    for part in ("train", "validation"):
        if not data.takes(part):
            raise ParamsError(f"{section}: no ensemble is in the part for {part}, expected at least one")
    if params.condition_hop & (params.condition_hop - 1):
        raise ParamsError(f"{section}.condition_hop is {params.condition_hop}, expected a power of 2")
    if params.down_kernel % 2 == 0 or params.up_kernel % 2 == 0:
        raise ParamsError(f"{section}: kernels of {params.down_kernel} and {params.up_kernel}, expected odd ones")
    if params.n_fft and not params.has_slots:
        if params.with_context:
            raise ParamsError(
                f"{section}: masks (n_fft {params.n_fft}) are of the whole mix, expected with_context false"
            )
        if params.spectrum_hop & (params.spectrum_hop - 1) or params.spectrum_hop > 2**params.n_layers:
            raise ParamsError(
                f"{section}.spectrum_hop is {params.spectrum_hop}, expected a power of 2 of at most 2^n_layers, "
                f"{2**params.n_layers}"
            )
    if params.conditioning in ("none", "copies") and not params.has_slots:
        raise ParamsError(
            f"{section}.conditioning is {params.conditioning}, expected concat, additive, multiplicative or film: "
            f"{BLIND} is the one without"
        )


def config_of(params: WaveUnetParams, system: str, *, n_channels: int, n_motion: int) -> WaveUnetConfig:
    """Return the sizes of a system's network.

    Args:
        params: what the network has a field of the same name for is passed on.
        system: of the family.
        n_channels: of the mixes.
        n_motion: motion features of a picture.
    """
    same = {field.name for field in fields(WaveUnetConfig)} & WaveUnetParams.model_fields.keys()
    sizes: dict[str, Any] = params.model_dump(include=same - CONDITIONED_ALONE) | {"n_channels": n_channels}
    if params.has_slots:
        sizes["n_fft"] = 0
    if system == BLIND:
        return WaveUnetConfig(**sizes, n_sources=params.max_players, is_bounded=False)
    if params.fidelity == "original":
        return WaveUnetConfig(
            **sizes,
            n_sources=len(SLOTS),
            output="difference",
            conditioning="copies",
            n_conditions=len(SLOTS),
            mixes_conditions=True,
        )
    if params.fidelity == "port":  # its default says 'none', which counts as true: labels are multiplied all the same
        return WaveUnetConfig(
            **sizes,
            n_sources=len(SLOTS),
            conditioning="multiplicative",
            n_conditions=len(SLOTS),
            shares_output=True,
            normalize=True,
        )
    return WaveUnetConfig(
        **sizes,
        **params.model_dump(include=set(CONDITIONED_ALONE)),
        **_dictionary_sizes(params, n_motion),
        n_sources=1,
        n_conditions=n_features(params.conditioned_on, n_motion),
        per_player=True,
        is_consistent=True,
        is_bounded=False,
    )


def segment_samples(params: WaveUnetParams, config: WaveUnetConfig, sample_rate: int) -> int:
    """Return the length of a training mix."""
    return config.lengths(round(params.segment_s * sample_rate))[1]


def _dictionary_sizes(params: WaveUnetParams, n_motion: int) -> dict[str, Any]:
    """Return the dictionary's sizes for `WaveUnetConfig`; nothing without one, or without an instrument condition."""
    at = {name: n_features(params.conditioned_on[:place], n_motion) for place, name in enumerate(params.conditioned_on)}
    instruments, pitches, onsets = (
        [at[name] for name in names if name in at]
        for names in (INSTRUMENT_CONDITIONS, PITCH_CONDITIONS, ONSET_CONDITIONS)
    )
    onsets = [found + N_PITCHES for found in pitches] + onsets
    if not (params.n_iterations and params.n_fft and instruments):
        return {}
    lowest = min(instrument.lowest for instrument in ORCHESTRA.values())
    return {
        "n_pitches": max(instrument.highest for instrument in ORCHESTRA.values()) + 1 - lowest,
        "lowest_pitch": lowest,
        "n_instruments": len(SLOTS),
        "instruments_at": instruments[0],
        "pitches_at": pitches[0] if pitches else -1,
        "onsets_at": onsets[0] if onsets else -1,
    }
