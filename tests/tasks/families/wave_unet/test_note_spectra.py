"""The dictionary of note spectra, and the masks that it initializes."""

import pytest
import torch

from tasks.families.separation import mixture_of
from tasks.families.wave_unet.conditions import conditions_of, on_grid
from tasks.families.wave_unet.note_spectra import learn_note_spectra
from tasks.families.wave_unet.separator import separate_whole
from tasks.instruments.orchestra import ORCHESTRA, SLOTS


def test_a_notes_spectrum_is_that_of_its_stem_and_moves_to_notes_that_nobody_plays(data, network_of, tones_hz):
    config = network_of().config
    spectra = learn_note_spectra(data, config)
    bin_hz = data.sample_rate / config.n_fft
    for code, pitch in (("vn", 67), ("vc", 74)):
        own = spectra[SLOTS.index(code)]
        assert own[pitch - config.lowest_pitch].argmax() == round(tones_hz[code] / bin_hz)
        fifth = own[pitch - 7 - config.lowest_pitch].argmax()
        assert fifth == pytest.approx(tones_hz[code] / bin_hz / 1.5, abs=1)
        beyond = [row + config.lowest_pitch < ORCHESTRA[code].lowest for row in range(config.n_pitches)]
        assert not own[beyond].any()


def test_instruments_that_nobody_plays_have_the_spectra_of_those_that_are_played(data, network_of):
    config = network_of().config
    spectra = learn_note_spectra(data, config)
    row = 76 - config.lowest_pitch
    both = spectra[SLOTS.index("vn"), row] + spectra[SLOTS.index("vc"), row]
    torch.testing.assert_close(spectra[SLOTS.index("fl"), row], both / both.norm())


def test_masks_begin_with_the_dictionarys_and_without_one_they_are_all_alike(
    data, params, params_of, network_of, sdr_db
):
    mixture = mixture_of(data, "d")
    grid = on_grid(conditions_of(mixture, params.conditioned_on, None), mixture, 32, mixture.audio.shape[1])
    gained = {}
    for n_iterations in (0, 10):
        network = network_of(params_of(n_iterations=n_iterations))
        if n_iterations:
            network.spectral.dictionary.spectra.copy_(learn_note_spectra(data, network.config))
        mix, condition = torch.from_numpy(mixture.audio), torch.from_numpy(grid)[None]
        sounds = separate_whole(network, mix, condition, n_output=data.sample_rate)
        gained[n_iterations] = sdr_db(data.stems("d")[0], sounds[0].numpy())
    assert gained[10] > 20
    assert gained[0] < 10
