"""What is fitted in closed form before any training: the keys in the pictures, and each key's response.

Pictures and sound of the training takes alone enter; scores, key states and velocities do not.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from models.deepsynth import DeepSynth
from models.key_drive import FilmDrive, KeyDrive
from models.key_response import KeyResponse, StruckTake, fit_key_response
from models.key_states import N_ROWS, KeyReader, Strokes, find_keys, strokes_of
from models.past_samples import fit_taps
from tasks.errors import DamagedData, ParamsError
from tasks.families.deepsynth.crops import ScoreFilms, first_samples
from tasks.families.deepsynth.params import DeepSynthParams
from tasks.families.trained import load_trained, save_trained
from tasks.features.mu_law import mu_law_decode

TAPS_WINDOW_S = 1.0  # over which the sound that is predicted is taken for stationary
AMPLITUDE_SHARE = 8  # one window in so many is used to find the oscillators' amplitudes
CACHE = "keys"


@dataclass(frozen=True, kw_only=True)
class LearnedKeys:
    """The keys of the training films.

    Attributes:
        reader: reads them in pictures.
        response: learned from all training takes.
        folds: responses learned from all but one fold of the training takes each, one a fold.
        fold_of: which fold each training take is in.
    """

    reader: KeyReader
    response: KeyResponse
    folds: Sequence[KeyResponse]
    fold_of: Mapping[str, int]


def learn_keys(films: ScoreFilms, takes: Sequence[str], params: DeepSynthParams, *, cache: Path) -> LearnedKeys:
    """Find the keys in the takes' pictures, and fit their responses to the takes' sound.

    Args:
        films: the data set's.
        takes: for training.
        params: of the family.
        cache: a folder that survives a kill: what was fitted is read from it again.

    Raises:
        ParamsError: the takes show no key that moves, or are fewer than the folds.
    """
    if params.n_folds > 1 and len(takes) < 2 * params.n_folds:
        raise ParamsError(
            f"train.deepsynth.n_folds is {params.n_folds}, expected 1 or at most half of the {len(takes)} takes"
        )
    fold_of = {take: row % params.n_folds for row, take in enumerate(takes)}
    if (kept := _read(cache, params.n_folds)) is not None:
        reader, responses = kept
    else:
        try:
            reader = find_keys(lambda: (block for take in takes for block in films[take].blocks()))
            responses = _fit(films, fold_of, reader, params)
        except ValueError as error:
            raise ParamsError(f"no keys can be learned from the training takes: {error}") from None
        _keep(cache, reader, responses)
    return LearnedKeys(reader=reader, response=responses[0], folds=responses[1:] or responses[:1], fold_of=fold_of)


def _fit(
    films: ScoreFilms, fold_of: Mapping[str, int], reader: KeyReader, params: DeepSynthParams
) -> list[KeyResponse]:
    """Return the response learned from all takes, then those of the folds, if there are several."""
    struck = {
        take: StruckTake(strokes=strokes_in(films, take, reader), sound=mu_law_decode(films[take].codes))
        for take in fold_of
    }
    fit = partial(
        fit_key_response,
        n_keys=len(reader.keys),
        length=round(params.response_s * films.code_rate),
        rate=films.code_rate,
        n_threads=params.n_threads,
    )
    whole = fit(list(struck.values()))
    if params.n_folds == 1:
        return [whole]
    others = [[take for name, take in struck.items() if fold_of[name] != fold] for fold in range(params.n_folds)]
    return [whole, *(fit(takes, like=whole) for takes in others)]


def strokes_in(films: ScoreFilms, take: str, reader: KeyReader, *, shown: str | None = None) -> Strokes:
    """Return the strokes that the film of a take shows, or that of the take ``shown`` in its place."""
    film, n_samples = films[shown or take], len(films[take].codes)
    depth, pedal = reader.read(film.blocks())
    starts = first_samples(film.picture_time_s, rate=films.code_rate, n_samples=n_samples)
    return strokes_of(depth, pedal, starts, n_samples, same_luma=float(reader.threshold))


def drives_of(
    films: ScoreFilms, takes: Sequence[str], keys: KeyDrive, *, pictures_of: Mapping[str, str] | None = None
) -> dict[str, FilmDrive]:
    """Return the drives of takes, from their own pictures or those that ``pictures_of`` names."""
    others = pictures_of or {}
    return {
        take: keys.follow(strokes_in(films, take, keys.reader, shown=others.get(take)), len(films[take].codes))
        for take in takes
    }


def fill_keys(keys: KeyDrive, learned: LearnedKeys, code_rate: int) -> None:
    """Give a network's drive what was learned."""
    keys.reader.load_state_dict(learned.reader.state_dict())
    keys.response.load_state_dict(learned.response.state_dict())
    if keys.oscillators is not None:
        keys.oscillators.tune(learned.response, code_rate)


def training_drives(
    films: ScoreFilms, takes: Sequence[str], keys: KeyDrive, learned: LearnedKeys
) -> dict[str, FilmDrive]:
    """Return the drives of training takes, each from the response of the fold that left it out.

    On the takes that it was fitted to a response is nearer to the sound than it is on others.
    """
    whole = learned.response.state_dict()
    drives: dict[str, FilmDrive] = {}
    for fold, response in enumerate(learned.folds):
        keys.response.load_state_dict(response.state_dict())
        drives |= drives_of(films, [take for take in takes if learned.fold_of[take] == fold], keys)
    keys.response.load_state_dict(whole)
    return drives


def fit_prediction(
    network: DeepSynth, films: ScoreFilms, takes: Sequence[str], drives: Mapping[str, FilmDrive]
) -> None:
    """Start a network's linear parts from their closed form: oscillators' amplitudes, taps, the shares of classes.

    A class that is never heard in training is as unlikely as that from the start: a softmax that has to learn it draws
    samples of full scale for a long time.
    """
    config = network.config
    window = round(TAPS_WINDOW_S * films.code_rate)
    with torch.no_grad():
        if network.drive_mean is not None:
            weights = _amplitudes(films, takes, drives, window)
            network.drive_mean.weight.copy_(torch.from_numpy(weights)[None])
        if config.n_taps:
            left = (_left_over(network, films, take, drives, window) for take in takes)
            network.samples.taps.copy_(torch.from_numpy(fit_taps(left, config.n_taps, window=window)))
        if config.output == "softmax" and config.smooth_init:
            counts = np.ones(config.n_classes)
            for take in takes:
                counts += np.bincount(films[take].codes, minlength=config.n_classes)
            network.output.bias.copy_(torch.from_numpy(np.log(counts / counts.sum())))


def _left_over(
    network: DeepSynth, films: ScoreFilms, take: str, drives: Mapping[str, FilmDrive], window: int
) -> NDArray[np.float64]:
    """Return what the drive leaves of a take's sound."""
    sound = mu_law_decode(films[take].codes).astype(np.float64)
    if take in drives and network.config.drive_as == "mean":
        for start in range(0, len(sound), window):
            count = min(window, len(sound) - start)
            amplitude = network.drive_amplitude(drives[take].at(start, count))
            if amplitude is not None:
                sound[start : start + count] -= amplitude.numpy()
    return sound


def _amplitudes(
    films: ScoreFilms, takes: Sequence[str], drives: Mapping[str, FilmDrive], window: int
) -> NDArray[np.float32]:
    """Return the weights (C,) with which oscillators are nearest to the sound, by least squares."""
    n_columns = drives[takes[0]].at(0, 1).shape[1]
    square, product = np.zeros((n_columns, n_columns)), np.zeros(n_columns)
    for take in takes:
        sound = mu_law_decode(films[take].codes)
        for start in range(0, len(sound) - window, AMPLITUDE_SHARE * window):
            columns = drives[take].at(start, window).numpy()
            square += columns.T @ columns
            product += columns.T @ sound[start : start + window]
    ridge = 1e-6 * np.trace(square) / len(square) + 1e-9
    solved: NDArray[np.float32] = np.linalg.solve(square + ridge * np.eye(len(square)), product).astype(np.float32)
    return solved


def _keep(cache: Path, reader: KeyReader, responses: Sequence[nn.Module]) -> None:
    modules = {"reader": reader, **{str(number): one for number, one in enumerate(responses)}}
    arrays = {
        f"{name}.{key}": value.numpy() for name, one in modules.items() for key, value in one.state_dict().items()
    }
    cache.mkdir(parents=True, exist_ok=True)
    save_trained(cache / CACHE, arrays, {"n_responses": len(responses)})


def _read(cache: Path, n_folds: int) -> tuple[KeyReader, list[KeyResponse]] | None:
    """Return what `_keep` wrote; None where it is not whole."""
    try:
        arrays, facts = load_trained(cache / CACHE, {"n_responses": int})
    except DamagedData:  # a kill cut it short, or nothing is there yet
        return None
    if facts["n_responses"] != (n_folds + 1 if n_folds > 1 else 1):
        return None
    n_keys, n_features = arrays["reader.keys"].shape
    reader = KeyReader(n_keys, n_features // N_ROWS)
    responses = [KeyResponse(*arrays[f"{number}.responses"].shape) for number in range(facts["n_responses"])]
    for name, module in {"reader": reader, **{str(number): one for number, one in enumerate(responses)}}.items():
        module.load_state_dict({key: torch.from_numpy(arrays[f"{name}.{key}"]) for key in module.state_dict()})
    return reader, responses
