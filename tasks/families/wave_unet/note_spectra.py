"""The dictionary of note spectra, learned from the training stems whose notes are known.

Shapes: N instruments, P pitches, C channels, n samples, T stft frames or pictures.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from models.note_dictionary import factorize
from models.wave_unet import WaveUnetConfig
from tasks.families.separation import level_of
from tasks.instruments.orchestra import ORCHESTRA, SLOTS
from tasks.store.ensembles import EnsembleSet

MAX_FRAMES = 4000  # of an instrument, about: its spectra are learned from so many
N_ITERATIONS = 20
N_PARTIALS = 59  # of a harmonic comb


def learn_note_spectra(data: EnsembleSet, config: WaveUnetConfig) -> Tensor:
    """Return the spectrum of each note of each instrument.

    The stems of an instrument are factorized with one spectrum a pitch. It is initialized as a harmonic comb; its
    strength is free where the score has the note and zero elsewhere. Pitches that no training stem has get a
    neighbour's spectrum, moved; instruments that none has get the mean over the others.

    Args:
        data: test takes are never opened.
        config: sizes of the dictionary and of its spectra.

    Returns:
        (N, P, bins) magnitudes, each of length 1; zeros beyond an instrument's compass.
    """
    frames: dict[str, list[tuple[Tensor, Tensor]]] = {}
    for take in data.takes("train"):
        for code, stem, roll in zip(data.instruments(take), data.stems(take), data.rolls(take), strict=True):
            if roll.any():
                frames.setdefault(code, []).append(_frames_of_notes(stem, roll, data, config))
    n_bins = config.n_fft // 2 + 1
    pitches = np.arange(config.lowest_pitch, config.lowest_pitch + config.n_pitches)
    bin_hz = data.sample_rate / config.n_fft
    combs = torch.from_numpy(np.stack([_comb(int(pitch), n_bins, bin_hz) for pitch in pitches]))
    spectra = torch.zeros(config.n_instruments, config.n_pitches, n_bins)
    for code, found in frames.items():
        magnitudes, sounding = (torch.cat(part, dim=-1) for part in zip(*found, strict=True))
        every = max(1, magnitudes.shape[-1] // MAX_FRAMES)
        magnitudes, sounding = magnitudes[:, ::every], sounding[:, ::every]
        played = torch.nonzero(sounding.any(dim=1)).ravel()
        learned = _factorized(magnitudes, combs[played], sounding[played].float())
        own = ORCHESTRA[code]
        for row in range(max(own.lowest - config.lowest_pitch, 0), own.highest + 1 - config.lowest_pitch):
            nearest = int((played - row).abs().argmin())
            ratio = 2 ** ((int(played[nearest]) - row) / 12)
            moved = np.interp(np.arange(n_bins) * ratio, np.arange(n_bins), learned[nearest].numpy(), right=0.0)
            spectra[SLOTS.index(code), row] = torch.from_numpy(moved / max(np.linalg.norm(moved), 1e-12))
    known = spectra.abs().sum(dim=2, keepdim=True) > 0
    together = torch.where(known.any(dim=0), spectra.sum(dim=0) / known.sum(dim=0).clamp(min=1), combs)
    for code in ORCHESTRA.keys() - frames.keys():
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
    # A note sounds longer than it is written.
    near = functional.max_pool1d(torch.from_numpy(own).float()[None], 5, stride=1, padding=2)[0]
    sounding = magnitudes.norm(dim=0) > 0
    return magnitudes[:, sounding], near[:, sounding] > 0


def _factorized(magnitudes: Tensor, spectra: Tensor, sounding: Tensor) -> Tensor:
    """Return the spectra (R, bins) of magnitudes (bins, T), where each may sound in the frames of ``sounding`` (R, T).

    Args:
        magnitudes: of the stems.
        spectra: (R, bins), initial values.
        sounding: 1 or 0.
    """
    strengths = sounding * magnitudes.norm(dim=0)
    for _ in range(N_ITERATIONS):
        strengths = factorize(magnitudes[None], spectra[None], strengths[None], n_iterations=1)[0]
        spectra = factorize(magnitudes.T[None], strengths[None], spectra[None], n_iterations=1)[0]
        spectra = functional.normalize(spectra, dim=1)
    return spectra


def _comb(pitch: int, n_bins: int, bin_hz: float) -> NDArray[np.float32]:
    """Return a spectrum of harmonics that fade by 2 dB each: (bins,)."""
    numbers = np.arange(1, N_PARTIALS + 1)
    partials_hz = 440 * 2 ** ((pitch - 69) / 12) * numbers
    nearness = np.exp(-0.5 * (np.arange(n_bins)[:, None] - partials_hz / bin_hz) ** 2)
    comb = 1e-4 + nearness @ (0.8**numbers)
    return np.asarray(comb / np.linalg.norm(comb), np.float32)
