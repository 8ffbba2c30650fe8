"""Is the classifier accurate, robust against flat greys, deterministic, and cached?"""

import pytest
import torch

from ganlab import classifiers, datasets, metrics, seeds
from ganlab.classifiers import frozen_classifier
from ganlab.outliers import OUTLIERS

OUTLIER = 10  # the index after the ten digits


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("classifiers")


@pytest.fixture(scope="module")
def data():
    return datasets.load("digits")


@pytest.fixture(scope="module")
def digits(data, cache):
    """Trained once for the whole module."""
    return frozen_classifier(data, cache)


@pytest.fixture
def no_training(monkeypatch):
    """Training fails: what passes comes from the cache."""
    monkeypatch.setattr(classifiers, "train", lambda data: pytest.fail("trained again"))


@pytest.fixture
def instant_training(monkeypatch):
    """Two steps instead of hundreds, for tests that are not about accuracy."""
    monkeypatch.setattr(classifiers, "STEPS", 2)


@pytest.fixture(autouse=True)
def fresh_process():
    """Forget what this process holds, so that each call looks at the cache folder."""
    frozen_classifier.cache_clear()


def test_digits_are_classified(digits, data):
    assert digits.accuracy >= 0.98
    assert digits.accuracy == pytest.approx(float((digits.labels(data.test) == data.test_labels).double().mean()))
    assert digits.false_positive <= 0.01
    assert digits.classes == tuple("0123456789")


@pytest.mark.parametrize("kind", [kind.name for kind in OUTLIERS.values() if kind.corrupts == "real"])
def test_every_kind_of_real_outlier_is_recognised(digits, kind):
    assert digits.true_positive[kind] >= 0.98
    # and so the share of a mixture can be measured
    assert metrics.corrected_share(0.3, digits.false_positive, digits.true_positive[kind]) == pytest.approx(
        0.3, abs=0.02
    )


def test_flat_greys_do_not_fool_it(digits):
    greys = torch.linspace(0, 1, 101).view(-1, 1, 1, 1).expand(-1, 1, 8, 8)
    assert (digits.labels(greys) == OUTLIER).all()


def test_noise_on_a_flat_grey_does_not_fool_it(digits):
    blends = classifiers.blend(torch.zeros(500, 1, 8, 8), seeds.generator(1, "test"))
    assert (digits.labels(blends) == OUTLIER).double().mean() >= 0.98


def test_features(digits, data):
    features = digits.features(data.test)
    assert features.shape == (899, classifiers.FEATURES)
    assert features.dtype == torch.float32
    assert not features.requires_grad
    assert (features.std(0) > 0).all()  # none is dead
    # They are what the last layer sees.
    assert torch.allclose(digits.network[-1](features).argmax(1), digits.labels(data.test))


def test_features_separate_real_images_from_outliers(digits, data):
    real = digits.features(data.test[:898])
    floor = metrics.frechet_distance(digits.features(data.train), real)
    noise = digits.features(torch.rand(898, 1, 8, 8, generator=seeds.generator(0, "test")))
    assert metrics.frechet_distance(noise, real) > 20 * floor


def test_a_read_out_does_not_depend_on_batching_or_threads(digits, data):
    whole, single = digits.features(data.test), digits.features(data.test[600:601])
    assert torch.allclose(whole[600:601], single, atol=1e-5)
    before = torch.get_num_threads()
    torch.set_num_threads(before + 1)
    try:
        assert torch.equal(digits.features(data.test), whole)
        assert torch.get_num_threads() == before + 1
    finally:
        torch.set_num_threads(before)


def test_it_is_frozen(digits):
    assert not digits.network.training
    assert not any(weight.requires_grad for weight in digits.network.parameters())


def test_the_second_call_reads_the_cache(digits, data, cache, no_training):
    again = frozen_classifier(data, cache)
    assert again is not digits
    for name in ("dataset", "classes", "accuracy", "false_positive", "true_positive", "digest"):
        assert getattr(again, name) == getattr(digits, name)
    assert torch.equal(again.features(data.test), digits.features(data.test))
    assert not any(weight.requires_grad for weight in again.network.parameters())
    assert frozen_classifier(data, cache) is again  # and the third call the process's memory


def test_training_is_deterministic_and_keeps_the_callers_random_state(data, tmp_path, instant_training):
    torch.manual_seed(7)
    before, threads = torch.get_rng_state(), torch.get_num_threads()
    first = frozen_classifier(data, tmp_path / "a")
    torch.manual_seed(8)
    with torch.no_grad():
        second = frozen_classifier(data, tmp_path / "b")
    assert first.digest == second.digest == classifiers.weights_digest(first.network)
    torch.manual_seed(7)
    frozen_classifier.cache_clear()
    frozen_classifier(data, tmp_path / "a")  # from the cache
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize("damage", [b"", b"not a classifier", None])
def test_a_damaged_cache_file_is_replaced(data, tmp_path, instant_training, damage):
    digest = frozen_classifier(data, tmp_path).digest
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:1000] if damage is None else damage)
    frozen_classifier.cache_clear()
    assert frozen_classifier(data, tmp_path).digest == digest
    frozen_classifier.cache_clear()
    assert classifiers._restore(path, data).digest == digest


def test_weights_that_are_not_the_claimed_ones_are_not_used(data, tmp_path, instant_training):
    digest = frozen_classifier(data, tmp_path).digest
    (path,) = tmp_path.iterdir()
    record = torch.load(path, weights_only=True)
    record["network"]["0.weight"] += 1
    torch.save(record, path)
    frozen_classifier.cache_clear()
    assert classifiers.weights_digest(frozen_classifier(data, tmp_path).network) == digest


def test_an_unwritable_cache_is_not_an_error(data, tmp_path, instant_training):
    (tmp_path / "file").write_text("in the way of the folder")
    assert frozen_classifier(data, tmp_path / "file").dataset == "digits"


def test_the_cache_follows_the_environment(data, tmp_path, monkeypatch, instant_training):
    monkeypatch.setenv("GANLAB_CACHE", str(tmp_path))
    frozen_classifier(data)
    assert [path.suffix for path in tmp_path.iterdir()] == [".pt"]


def test_another_data_set_has_another_cache_file(data):
    other = datasets.LabelledImages(**{**vars(data), "train_labels": data.train_labels.flip(0)})
    assert classifiers._cache_name(other) != classifiers._cache_name(data)


def test_outliers_come_in_even_parts():
    # Today noise, flat greys, blends: of 30 images 10 each, and the flat ones are flat.
    drawn = classifiers.draw_outliers(torch.zeros(30, 1, 8, 8), seeds.generator(0, "test"))
    parts = len(classifiers.real_outliers()) + 2
    assert drawn.shape == (30, 1, 8, 8)
    assert int((drawn.flatten(1).std(1) == 0).sum()) >= 30 // parts


def test_shift_moves_each_image_by_at_most_one_pixel():
    image = torch.zeros(200, 1, 5, 5)
    image[:, :, 2, 2] = 1
    moved = classifiers.shift(image, seeds.generator(0, "test"))
    assert moved.sum() == 200  # the bright pixel stays inside
    assert set(map(tuple, moved.nonzero()[:, 2:].tolist())) == {(y, x) for y in (1, 2, 3) for x in (1, 2, 3)}


def test_a_frozen_network_equals_the_original():
    images = torch.rand(64, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    network = classifiers.build(8, 8, 11)
    network(images)  # moves the running statistics off their start
    expected = network.eval()(images)
    frozen = classifiers.frozen(network)
    assert not any(isinstance(layer, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d) for layer in frozen)
    torch.testing.assert_close(frozen(images), expected.detach(), rtol=1e-4, atol=1e-5)
    assert frozen[:-1](images).shape == (64, classifiers.FEATURES)
