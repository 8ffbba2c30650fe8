"""A user's losses: functions, modules, parameters, mistakes; and the properties of a loss before any training."""

import sys

import numpy as np
import pytest
import torch
from scipy.stats import beta

from bench.cli import main as cli
from bench.loss_check import examine as loss_check
from bench.loss_check.elementwise import SKEWED, kinks, sought
from bench.loss_check.examine import check, resolve
from ganlab import losses
from ganlab.losses import LOSSES, PARTICULAR, find_loss, find_shipped
from ganlab.plugins import PluginError, entry_points
from ganlab.tasks.experiment import known_loss
from tests.support.small_data import CPU, cell, use_small_data

MINE = """
import threading

import torch
from torch import nn


def quartic(prediction, target):
    return (prediction - target) ** 4


def log_cosh(prediction, target):
    error = (prediction - target).abs()
    return error + torch.nn.functional.softplus(-2 * error) - torch.log(torch.tensor(2.0))


class Median(nn.Module):
    def __init__(self, reduction="mean"):
        super().__init__()
        self.inner = nn.L1Loss(reduction=reduction)

    def forward(self, prediction, target):
        return self.inner(prediction, target)


class Learnt(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.rand(()))

    def forward(self, prediction, target):
        return self.weight.exp() * (prediction - target).square() - self.weight


class HalfFrozen(nn.Module):
    def __init__(self, trains=True):
        super().__init__()
        self.power = nn.Parameter(torch.tensor(2.0), requires_grad=False)
        self.weight = nn.Parameter(torch.zeros(()), requires_grad=trains)

    def forward(self, prediction, target):
        return self.weight.exp() * (prediction - target).abs().pow(self.power) - self.weight


class Frozen(HalfFrozen):
    def __init__(self):
        super().__init__(trains=False)


class Weighted(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("weight", torch.tensor(2.0))

    def forward(self, prediction, target):
        return self.weight * (prediction - target).abs()


class Counting(nn.Module):
    def __init__(self):
        super().__init__()
        self.calls = 0

    def forward(self, prediction, target):
        self.calls += 1
        return (prediction - target).abs()


class CountingInABuffer(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.tensor(0))

    def forward(self, prediction, target):
        self.calls += 1
        return (prediction - target).abs()


class Uncopied(nn.Module):
    def __init__(self):
        super().__init__()
        self.lock = threading.Lock()

    def forward(self, prediction, target):
        return (prediction - target).abs()


class NeedsMore(nn.Module):
    def __init__(self, delta):
        super().__init__()


class NoModule:
    pass


def averaged(prediction, target):
    return (prediction - target).square().mean()


def normalised(prediction, target):
    error = (prediction - target).abs()
    return error / error.max().detach()


def one_argument(prediction):
    return prediction


def detached(prediction, target):
    return (prediction - target).detach().abs()


def fails(prediction, target):
    return prediction - missing


def wrong_slope(prediction, target):
    return (prediction - target).square() + (prediction - prediction.detach())


def naive_bce(prediction, target):
    return -(target * prediction.log() + (1 - target) * (1 - prediction).log())


def root(prediction, target):
    return (prediction - target).square().sqrt()


def of_probabilities(prediction, target):
    return nn.functional.binary_cross_entropy(prediction, target, reduction="none")


def pushes(prediction, target):
    return -prediction


def no_doubles(prediction, target):
    if prediction.dtype == torch.float64:
        raise TypeError("[/x] no doubles")
    return (prediction - target).abs()


def no_thousand(prediction, target):
    if len(prediction) == 1000:
        raise RuntimeError("too many")
    return (prediction - target).abs()


def in_single(prediction, target):
    return (prediction.float() - target.float()).square()


number = 3
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with losses of the user's own, the current one; nothing of it outlives the test."""
    (tmp_path / "mine.py").write_text(MINE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path.copy())
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    for cached in (losses.user_loss, losses.examined_loss):
        cached.cache_clear()
    yield tmp_path
    sys.modules.pop("mine", None)
    for cached in (losses.user_loss, losses.examined_loss):
        cached.cache_clear()


def test_a_function_and_modules(folder):
    prediction, target = torch.tensor([0.5, 0.25]), torch.tensor([0.25, 0.25])
    quartic = find_loss("mine:quartic")
    torch.testing.assert_close(quartic(prediction, target, "raw"), torch.tensor([0.25**4, 0.0]))
    torch.testing.assert_close(quartic(prediction, target, "raw", 255), torch.tensor([63.75**4, 0.0]))
    torch.testing.assert_close(quartic(torch.logit(prediction), target), torch.tensor([0.25**4, 0.0]))
    assert (quartic.references, quartic.heads, quartic.fresh()) == (("mine:quartic",), ("sigmoid", "raw"), quartic)
    torch.testing.assert_close(find_loss("mine:Median")(prediction, target, "raw"), torch.tensor([0.25, 0.0]))
    torch.testing.assert_close(find_loss("torch.nn:L1Loss")(prediction, target, "raw"), torch.tensor([0.25, 0.0]))
    assert find_loss("mine:Median").module is None


def test_parameters_of_a_module_belong_to_one_training(folder):
    learnt = find_loss("mine:Learnt")
    one, two = learnt.fresh(), learnt.fresh()
    assert one.module is not two.module
    assert torch.equal(one.module.weight, two.module.weight)  # though it is drawn
    losses.user_loss.cache_clear(), losses.examined_loss.cache_clear()
    assert torch.equal(find_loss("mine:Learnt").fresh().module.weight, one.module.weight)
    assert learnt.reason_against("gan", "raw").startswith("mine:Learnt learns parameters")
    weighted = find_loss("mine:Weighted").fresh()
    assert weighted.module is not None  # to be moved to the device
    assert weighted.reason_against("gan", "raw") is None


@pytest.mark.parametrize("name", ["mine:Counting", "mine:CountingInABuffer"])
def test_every_training_starts_from_a_module_that_was_never_called(folder, name):
    pair = torch.rand(2, 6)
    for loss in (resolve(name), find_loss(name)):  # both have called it
        one, two = loss.fresh(), loss.fresh()
        one(*pair, "raw")
        assert (int(one.module.calls), int(two.module.calls)) == (1, 0)
    check(loss)
    assert int(loss.fresh().module.calls) == 0


@pytest.mark.parametrize(
    ("attribute", "message"),
    [
        ("absent", "has no 'absent'"),
        ("quart", "did you mean 'quartic'?"),
        ("number", "is of type int; refer to a function of (prediction, target) or to an nn.Module class"),
        ("NoModule", "is the class NoModule; refer to"),
        ("NeedsMore", "cannot be built without arguments: TypeError"),
        ("averaged", "give shape (); return a value for each element, without mean() or sum()"),
        ("normalised", "it is not elementwise: the loss of an element changes with what stands beside it"),
        ("one_argument", "it fails: TypeError: one_argument() takes 1 positional argument but 2 were given"),
        ("detached", "cannot be differentiated in the prediction"),
        ("fails", "it fails: NameError: name 'missing' is not defined"),
        ("Uncopied", "copy.deepcopy fails: TypeError: cannot pickle '_thread.lock' object"),
    ],
)
def test_mistakes_are_one_line_before_any_training(folder, attribute, message):
    with pytest.raises(ValueError, match=r"^mine:") as caught:
        known_loss(f"mine:{attribute}")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    if attribute == "fails":
        line = 1 + MINE[: MINE.index("- missing")].count("\n")
        assert f"mine.py, line {line}" in str(caught.value)


def test_entry_points_are_losses_by_name(folder, monkeypatch):
    metadata = folder / "mine-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[ganlab.losses]\nfourth-power = mine:quartic\n")
    monkeypatch.syspath_prepend(folder)
    entry_points.cache_clear()
    try:
        loss = find_loss("fourth-power")
        assert (loss.name, loss.references) == ("fourth-power", ("mine:quartic",))
        with pytest.raises(ValueError, match="did you mean 'fourth-power'"):
            known_loss("fourth-powr")
    finally:
        entry_points.cache_clear()


@pytest.mark.parametrize(
    ("task", "name"),
    [
        ("sr", "mine:Learnt"),
        ("sr", "barron-adaptive"),
        ("sr", "mine:quartic"),
        ("gan", "mine:Weighted"),
        ("location", "mine:Weighted"),
    ],
)
def test_trained_end_to_end(folder, monkeypatch, task, name):
    from bench.training.train import train

    use_small_data(monkeypatch)
    outcome = train(cell(task, loss=name), CPU)
    assert outcome.status == "done", outcome.reason


# What can be known beforehand


@pytest.fixture(autouse=True)
def few_elements(monkeypatch):
    """Of the cost, which is nobody's claim here."""
    monkeypatch.setattr(loss_check, "ELEMENTS", 1000)


@pytest.mark.parametrize("name", [*LOSSES, *PARTICULAR, "pinball-0.7", "barron--2", "barron-1", "barron--inf"])
def test_every_shipped_loss_passes(name):
    loss = find_shipped(name)
    findings = check(loss)
    assert [finding for finding in findings if finding.passed is False] == []
    asked = {finding.asked for finding in findings}
    if loss.objective:
        assert {"differentiable", "finite", "equilibrium", "applies, raw head"} <= asked
    else:
        assert {"elementwise", "differentiable", "finite, sigmoid head", "minimiser"} <= asked
        assert sought(loss)[0] == loss.minimiser


def test_minimisers_by_hand():
    assert sought(find_loss("barron-2"))[0] == "mean"
    where = sought(find_loss("pinball-0.7"))
    assert where[0] is None
    for name, targets in SKEWED.items():
        assert where[1][name] == pytest.approx(np.quantile(targets, 0.7), abs=2e-3)
    assert np.mean(SKEWED["skewed right"]) == pytest.approx(beta.mean(1.2, 4), abs=1e-3)


def failed(name: str) -> dict[str, str]:
    return {finding.asked: finding.answer for finding in check(resolve(name)) if finding.passed is False}


def test_defects_that_would_break_training_are_detected(folder):
    assert failed("mine:quartic") == failed("mine:Median") == failed("mine:Learnt") == {}
    assert failed("mine:HalfFrozen") == failed("mine:Frozen") == {}
    assert "give shape ()" in failed("mine:averaged")["elementwise"]
    assert "changes the loss of another" in failed("mine:normalised")["elementwise"]
    assert "cannot be differentiated" in failed("mine:detached")["differentiable"]
    assert "differences of the values say" in failed("mine:wrong_slope")["differentiable"]
    assert "the value is nan at logit -10000" in failed("mine:naive_bce")["finite, sigmoid head"]
    assert "the gradient is nan at prediction" in failed("mine:root")["finite, raw head"]
    assert failed("mine:of_probabilities") == {}
    heads = {finding.asked: finding for finding in check(resolve("mine:of_probabilities"))}
    assert heads["finite, sigmoid head"].passed
    assert heads["finite, raw head"].answer.startswith("leave this head out: it fails: RuntimeError")
    assert "the gradient is nan at logit -10000, target 0, and" in failed("mine:root")["finite, sigmoid head"]
    assert failed("mine:pushes")["minimiser"].startswith("at the edge")
    assert failed("mine:no_thousand")["cost"].startswith("it fails: RuntimeError: too many")
    assert failed("mine:in_single") == {}
    said = {finding.asked: finding.answer for finding in check(resolve("mine:in_single"))}
    assert said["differentiable"].startswith("by autograd; whether rightly is not checked: it makes torch.float32")
    with pytest.raises(PluginError, match="takes 1 positional argument"):
        resolve("mine:one_argument")


def test_kinks_are_where_the_slope_jumps():
    assert kinks(LOSSES["l1"].of_prediction, 0.3) == [pytest.approx(0.3, abs=1e-6)]
    assert kinks(LOSSES["charbonnier"].of_prediction, 0.3) == []  # steep, but smooth
    assert kinks(lambda p, t: torch.nn.functional.relu(p - t - 0.2) ** 1, 0.3) == [pytest.approx(0.5, abs=1e-6)]


def test_shift_of_mean_and_median_seekers_under_outliers():
    for kind, rate, (ours, l1, l2) in loss_check.under_outliers(LOSSES["bce"]):
        assert ours == pytest.approx(l2, abs=1e-3)
        if kind == "salt":
            assert l2 == pytest.approx((1 - rate) * 0.3 + rate, abs=0.03)  # 800 pixels: 0.35 / sqrt(800) is 0.012
            assert l1 < 0.35


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["list"], 0, "relativistic     an objective of scores"),
        (["list"], 0, "pinball-TAU      seeks the TAU-quantile; TAU is between 0 and 1"),
        (["list"], 0, "ALPHA is at most 2, or -inf"),
        (["check", "mine:quartic"], 0, "mine:quartic can be trained with"),
        (["check", "mine:no_doubles"], 20, "[/x]"),
        (["check", "hinge"], 0, "hinge can be trained with"),
        (["check", "mine:averaged"], 20, "mine:averaged fails: elementwise"),
        (["check", "mine:absent"], 2, "bench: mine:absent: "),
        (["check", "mine:one_argument"], 2, "it fails: TypeError"),
        (["check", "barron-3"], 2, "; in barron-ALPHA, ALPHA is at most 2, or -inf"),
        (["check", "hing"], 2, "unknown loss 'hing'; did you mean 'hinge'?"),
        (["chek"], 2, "unknown action 'chek'; did you mean 'check'?"),
    ],
)
def test_the_verb(folder, monkeypatch, capsys, words, code, said):
    monkeypatch.setattr(sys, "argv", ["bench", "loss", *words])
    monkeypatch.setattr(loss_check, "RATES", (0.2,))
    with pytest.raises(SystemExit) as ended:
        cli.main()
    out, err = capsys.readouterr()
    assert (ended.value.code or 0) == code
    assert said in (err if code == 2 else out)
    assert code != 2 or err.count("\n") == 1
