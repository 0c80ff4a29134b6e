"""Family ``separation_baselines``: what a figure of separation is worth.

``mix`` returns the mix for every player, ``silent`` silence. ``nmf_dictionary`` is supervised non-negative matrix
factorization, the method before networks: a dictionary of spectra of each instrument is learned from the training
stems, and the factorization of a mix by these gives each player's share. ``ideal_ratio_mask`` is an upper bound: the
shares of the true stems.

Shapes: K players, C channels, n samples, B bins, T stft frames, R spectra of a dictionary.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from threadpoolctl import threadpool_limits

from tasks.errors import DamagedData, ParamsError
from tasks.families.base import Role
from tasks.families.separation import Mixture, Separation, SeparationFamily
from tasks.families.trained import load_trained, save_trained
from tasks.params import Section
from tasks.store.ensembles import EnsembleSet

MIX, SILENT, NMF, IDEAL = "mix", "silent", "nmf_dictionary", "ideal_ratio_mask"
ANY = "any"  # the dictionary of all instruments together, for one that no training stem has
SOUNDING_DB = -40.0  # of a stem's loudest stft frame: quieter ones are not learned from
SPAN_FRAMES = 512  # windows' lengths that are separated at a time: a minute of windows of an eighth of a second

Count = Annotated[int, Field(ge=1)]


class SeparationBaselinesParams(Section):
    """How the baselines are computed.

    Attributes:
        window_s: of the short-time spectra; rounded up to a power of two of samples, a quarter of it from one to the
            next.
        n_spectra: of an instrument's dictionary.
        n_frames: of the training stems, at most, that each dictionary is learned from.
        n_iterations: of the factorization, in learning and on a mix.
        mask_power: exponent of the magnitudes in the masks; 2 is Wiener's filter.
        seed: of the frames that are drawn, and of the dictionaries' first values.
    """

    window_s: Annotated[float, Field(gt=0)]
    n_spectra: Count
    n_frames: Count
    n_iterations: Count
    mask_power: Annotated[float, Field(gt=0)]
    seed: int


class SeparationBaselines(SeparationFamily[SeparationBaselinesParams]):
    """Four systems; none is trained in steps."""

    params_class: ClassVar[type[Section]] = SeparationBaselinesParams
    systems: ClassVar[tuple[str, ...]] = (MIX, SILENT, NMF, IDEAL)
    roles: ClassVar[Mapping[str, Role]] = {MIX: "reference", SILENT: "idle", IDEAL: "bound"}

    def fit(
        self,
        data: EnsembleSet,
        out: Path,
        *,
        params: SeparationBaselinesParams,
        resume: Path,  # noqa: ARG002
        accelerator: str,  # noqa: ARG002
    ) -> None:
        """Learn a dictionary of each instrument that a training stem has, and one of all together.

        Raises:
            ParamsError: every training stem is silent.
        """
        n_fft = _n_fft(params.window_s, data.sample_rate)
        rng = np.random.default_rng(params.seed)
        spectra: dict[str, list[NDArray[np.float32]]] = {}
        for take in data.takes("train"):
            for code, stem in zip(data.instruments(take), data.stems(take), strict=True):
                magnitudes = np.abs(_stft(stem, n_fft)).mean(axis=0)  # (B, T)
                energies = np.square(magnitudes).sum(axis=0)
                sounding = energies > energies.max(initial=0.0) * 10 ** (SOUNDING_DB / 10)
                spectra.setdefault(code, []).append(magnitudes[:, sounding])
        of_each = {code: np.concatenate(found, axis=1) for code, found in sorted(spectra.items())}
        of_each = {code: found for code, found in of_each.items() if found.shape[1]}
        if not of_each:
            raise ParamsError("train.separation_baselines: every training stem is silent, expected sound to learn from")
        of_each[ANY] = np.concatenate(list(of_each.values()), axis=1)
        # A product summed by two threads has other last bits than by one.
        with threadpool_limits(limits=1, user_api="blas"):
            dictionaries = {code: _dictionary(found, params, rng) for code, found in of_each.items()}
        facts = {
            "sample_rate": data.sample_rate,
            "n_channels": data.n_channels,
            "n_fft": n_fft,
            "mask_power": params.mask_power,
            "n_iterations": params.n_iterations,
            "instruments": sorted(dictionaries.keys() - {ANY}),
        }
        for system in self.systems:
            save_trained(out / system, dictionaries if system == NMF else {}, facts)

    def shortest_s(self, trained: Path, system: str) -> float:
        """Return the length of a spectrum's window, in s.

        Raises:
            DamagedData: what was trained is missing or damaged.
        """
        _, facts = _load(trained / system)
        return float(facts["n_fft"] / facts["sample_rate"])

    def separate(
        self,
        trained: Path,
        mixtures: Mapping[str, Mixture],
        *,
        systems: Sequence[str],
        accelerator: str,  # noqa: ARG002
        truth: Mapping[str, NDArray[np.float32]] | None,
    ) -> Iterator[Separation]:
        """Separate every mix by the systems.

        Raises:
            DamagedData: what was trained is missing or damaged, or learned at another rate than a mix has.
        """
        loaded = {system: _load(trained / system) for system in systems}
        for take, mixture in mixtures.items():
            for system in systems:
                dictionaries, facts = loaded[system]
                if mixture.sample_rate != facts["sample_rate"]:
                    raise DamagedData(
                        f"the mix of {take} is at {mixture.sample_rate} Hz, expected {facts['sample_rate']} Hz, the "
                        f"rate that {trained / system}.json was learned at"
                    )
                if system == IDEAL:
                    if truth is None:
                        continue
                    stems = _ideal(mixture.audio, truth[take], facts)
                elif system == NMF:
                    with threadpool_limits(limits=1, user_api="blas"):
                        stems = _factorized(mixture, dictionaries, facts)
                else:
                    stems = np.zeros((len(mixture.instruments), *mixture.audio.shape), np.float32)
                    if system == MIX:
                        stems[:] = mixture.audio
                yield Separation(system=system, take=take, stems=stems, sample_rate=mixture.sample_rate)


def share_mix(
    mix: NDArray[np.complexfloating], magnitudes: NDArray[np.floating], *, power: float
) -> NDArray[np.complex64]:
    """Share a mix among sources by soft masks: the shares keep its phase and sum to it.

    Args:
        mix: (C, B, T) spectra.
        magnitudes: (K, C, B, T) or what broadcasts to it: estimated magnitudes of each source.
        power: exponent of the magnitudes.

    Returns:
        (K, C, B, T). Where all magnitudes are zero the shares are equal.
    """
    from librosa.util import softmask

    strengths = np.asarray(magnitudes, np.float32) ** np.float32(power)
    whole = strengths.sum(axis=0)
    shares = np.stack([softmask(one, np.maximum(whole - one, 0.0), power=1, split_zeros=False) for one in strengths])
    shares = np.where(whole > np.finfo(np.float32).tiny, shares, np.float32(1 / len(strengths)))
    return np.asarray(shares * mix, np.complex64)


def _ideal(mix: NDArray[np.float32], stems: NDArray[np.float32], facts: Mapping[str, Any]) -> NDArray[np.float32]:
    """Share a mix by the magnitudes of the true stems, span by span."""
    n_fft = facts["n_fft"]

    def part(span: slice) -> NDArray[np.float32]:
        true = np.abs(_stft(stems[:, :, span], n_fft))
        shared = share_mix(_stft(mix[:, span], n_fft), true, power=facts["mask_power"])
        return _sounds(shared, mix[:, span].shape[1], n_fft)

    return _in_spans(part, mix.shape[1], n_fft)


def _factorized(
    mixture: Mixture, dictionaries: Mapping[str, NDArray[np.float32]], facts: Mapping[str, Any]
) -> NDArray[np.float32]:
    """Share a mix by its factorization with all instruments' spectra; players of one instrument get equal shares."""
    codes = [code if code in dictionaries else ANY for code in mixture.instruments]
    different = sorted(set(codes))
    atoms = np.concatenate([dictionaries[code] for code in different], axis=1)  # (B, R of all)
    n_spectra = dictionaries[ANY].shape[1]
    n_fft = facts["n_fft"]

    def part(span: slice) -> NDArray[np.float32]:
        mix = _stft(mixture.audio[:, span], n_fft)
        activations = _activations(np.abs(mix).mean(axis=0), atoms, n_iterations=facts["n_iterations"])
        shares = {}
        for row, code in enumerate(different):
            own = slice(row * n_spectra, (row + 1) * n_spectra)
            shares[code] = atoms[:, own] @ activations[own]
        magnitudes = np.stack([shares[code] for code in codes])[:, None]
        shared = share_mix(mix, magnitudes, power=facts["mask_power"])
        return _sounds(shared, mixture.audio[:, span].shape[1], n_fft)

    return _in_spans(part, mixture.audio.shape[1], n_fft)


def _in_spans(part: Callable[[slice], NDArray[np.float32]], n_samples: int, n_fft: int) -> NDArray[np.float32]:
    """Return the sounds of a whole mix (K, C, n), computed span by span, so that a long mix needs no more memory.

    The part of a span that is kept lies farther from its ends than a window reaches, and the spans' stft frames are
    those of the whole mix: there is no seam.
    """
    margin = 2 * n_fft  # a multiple of the hop, as the spans' length is
    parts = []
    for start in range(0, n_samples, SPAN_FRAMES * n_fft):
        end = min(start + SPAN_FRAMES * n_fft, n_samples)
        first = max(start - margin, 0)
        found = part(slice(first, min(end + margin, n_samples)))
        parts.append(found[:, :, start - first : end - first])
    return np.concatenate(parts, axis=2)


def _dictionary(
    spectra: NDArray[np.float32], params: SeparationBaselinesParams, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Return spectra (B, R), each of length 1, whose sums approximate given ones (B, T); zeros where T is below R."""
    from librosa.decompose import decompose

    drawn = np.sort(rng.permutation(spectra.shape[1])[: params.n_frames])
    n_spectra = min(params.n_spectra, len(drawn))
    model = _model(n_spectra, params.n_iterations, seed=params.seed)
    # Frames at one loudness: a quiet note's spectrum is worth as much as a loud one's.
    even = spectra[:, drawn] / np.linalg.norm(spectra[:, drawn], axis=0)
    found, _ = decompose(even, transformer=model)
    dictionary = np.zeros((len(spectra), params.n_spectra), np.float32)
    lengths = np.linalg.norm(found, axis=0)
    dictionary[:, :n_spectra] = found / np.where(lengths > 0, lengths, 1.0)
    return dictionary


def _activations(
    magnitudes: NDArray[np.floating], atoms: NDArray[np.float32], *, n_iterations: int
) -> NDArray[np.float32]:
    """Return the activations (R, T) of a dictionary's spectra (B, R) in magnitudes (B, T)."""
    from librosa.decompose import decompose

    model = _model(atoms.shape[1], n_iterations, seed=0)
    model.components_ = np.ascontiguousarray(atoms.T)
    _, activations = decompose(np.asarray(magnitudes, np.float32), transformer=model, fit=False)
    return np.asarray(activations, np.float32)


def _model(n_spectra: int, n_iterations: int, *, seed: int) -> Any:
    # Comes with librosa, whose decompose uses one too, but with other settings.
    from sklearn.decomposition import NMF as Factorization  # noqa: N811

    return Factorization(
        n_components=n_spectra,
        init="random",
        solver="mu",
        beta_loss="kullback-leibler",
        tol=0.0,
        max_iter=n_iterations,
        random_state=seed,
    )


def _n_fft(window_s: float, sample_rate: int) -> int:
    return int(2 ** np.ceil(np.log2(max(window_s * sample_rate, 4))))


def _stft(audio: NDArray[np.float32], n_fft: int) -> NDArray[np.complex64]:
    from librosa import stft

    return np.asarray(stft(audio, n_fft=n_fft, hop_length=n_fft // 4, pad_mode="constant"), np.complex64)


def _sounds(spectra: NDArray[np.complex64], n_samples: int, n_fft: int) -> NDArray[np.float32]:
    from librosa import istft

    return np.asarray(istft(spectra, n_fft=n_fft, hop_length=n_fft // 4, length=n_samples), np.float32)


def _load(stem: Path) -> tuple[dict[str, NDArray[np.float32]], dict[str, Any]]:
    """Read what `SeparationBaselines.fit` wrote of a system.

    Raises:
        DamagedData: a file is missing, or not what is written there.
    """
    needed: dict[str, Any] = {"sample_rate": int, "n_fft": int, "n_iterations": int, "mask_power": float}
    arrays, facts = load_trained(stem, needed)
    shapes = {array.shape for array in arrays.values()}
    if stem.name == NMF and (ANY not in arrays or len(shapes) != 1 or shapes.pop()[0] != facts["n_fft"] // 2 + 1):
        raise DamagedData(
            f"{stem}.safetensors: expected dictionaries of one shape, a row a bin: train the family again"
        )
    return arrays, facts
