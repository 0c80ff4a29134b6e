import torch
from sklearn.decomposition import NMF

from models.note_dictionary import factorize


def test_a_factorization_is_as_good_as_scikit_learns():
    torch.manual_seed(0)
    spectra, magnitudes = torch.rand(1, 4, 30), torch.rand(1, 30, 20)
    found = factorize(magnitudes, spectra, torch.ones(1, 4, 20), n_iterations=400)
    model = NMF(n_components=4, solver="mu", beta_loss="kullback-leibler", tol=0.0, max_iter=400, init="random")
    model.components_ = spectra[0].numpy()
    expected = torch.from_numpy(model.transform(magnitudes[0].T.numpy()).T)
    torch.testing.assert_close(found[0], expected, atol=2e-2, rtol=2e-2)


def test_a_zero_strength_stays_zero_and_equal_spectra_keep_their_proportion():
    spectra = torch.rand(1, 1, 30).expand(1, 3, 30)
    strengths = torch.tensor([3.0, 1.0, 0.0]).reshape(1, 3, 1).expand(1, 3, 5)
    found = factorize(torch.rand(1, 30, 5), spectra, strengths, n_iterations=10)
    assert not found[0, 2].any()
    torch.testing.assert_close(found[0, 0], 3 * found[0, 1])
