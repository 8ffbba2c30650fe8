"""Is a user's loss compared with each rival by the rule, in one family, and shown clearly?"""

import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from bench.analysis.comparison import EQUIVALENT, INCONCLUSIVE
from bench.loss_check.what_they_seek import what_they_seek
from bench.reports.build import write_report
from bench.reports.names import Names
from bench.reports.user_losses import BETTER, WORSE, comparisons, section, sentences, tables
from bench.store.reader import Run
from tests.support.synthetic import write_run

CLEAN, SALT = ("clean", 0.0), ("salt", 0.2)
SCATTER = np.tile([0.1, -0.1, 0.0, 0.2, -0.2], 2)  # dB by seed, the same on both sides: pairing cancels it


def run_of(levels, task="sr", column="psnr_y_db"):
    """A run from {(loss, head, condition): level or values by seed}."""
    rows = [
        {
            "task": task,
            "dataset": "photos",
            "scale": 2.0,
            "loss": loss,
            "head": head,
            "outlier": outlier,
            "rate": rate,
            "seed": seed,
            "role": "report",
            "status": "done",
            column: value,
        }
        for (loss, head, (outlier, rate)), level in levels.items()
        for seed, value in enumerate(np.broadcast_to(level, 10) + (SCATTER if np.ndim(level) == 0 else 0))
    ]
    return Run(None, {}, pd.DataFrame(rows), *[pd.DataFrame()] * 3)


def test_verdicts_and_the_family_worked_out_by_hand():
    noisy = 30 + SCATTER + np.tile([0.3, -0.3, 0.2, -0.2, 0.0], 2)
    run = run_of(
        {
            ("Own", "sigmoid", CLEAN): 31.0,
            ("bce", "sigmoid", CLEAN): 30.0,
            ("l1", "sigmoid", CLEAN): 31.5,
            ("l2", "sigmoid", CLEAN): 31.02,
            ("Own", "sigmoid", SALT): 30.0,
            ("l2", "sigmoid", SALT): noisy,
        }
    )
    found = comparisons(run, ["Own"])
    assert found["verdict"].tolist() == [BETTER, WORSE, EQUIVALENT, INCONCLUSIVE]
    assert found["effect"].tolist() == pytest.approx([1.0, -0.5, -0.02, 0.0], abs=1e-9)
    last = found.iloc[-1]
    differences = -np.tile([0.3, -0.3, 0.2, -0.2, 0.0], 2)  # 10 seeds; 4 comparisons hold together: 1 - 0.05 / 4
    half = 1.5 * stats.t.ppf(1 - 0.05 / 4 / 2, 9) * differences.std(ddof=1) / 10**0.5
    assert (last["ci_low"], last["ci_high"]) == pytest.approx((-half, half))
    assert sentences(found) == [
        "Your loss Own, 2 conditions on the sigmoid head: against BCE BETTER in 1; against L1 WORSE in 1; against L2"
        " EQUIVALENT in 1, INCONCLUSIVE in 1."
    ]


def test_a_rival_without_that_head_is_compared_with_its_own_head():
    run = run_of(
        {
            ("Own", "raw", CLEAN): 31.0,
            ("bce", "sigmoid", CLEAN): 30.0,
            ("l1", "raw", CLEAN): 30.0,
            ("l1", "sigmoid", CLEAN): 20.0,
        }
    )
    found = comparisons(run, ["Own"]).set_index("against")
    assert found["against_head"].to_dict() == {"bce": "sigmoid", "l1": "raw"}
    (table,) = tables(run, found.reset_index())
    against = dict(zip(table.header, table.rows[0], strict=True))
    assert against["against BCE"].notes[-1] == "sigmoid head"
    assert against["against L2"].text == "–"


def test_unfinished_comparisons_count_in_the_family_but_decide_nothing():
    run = run_of({("Own", "raw", CLEAN): 31.0, ("l1", "raw", CLEAN): 30.0, ("l2", "raw", CLEAN): 30.0})
    lost = (run.cells["loss"] == "l2") & (run.cells["seed"] > 0)
    run.cells.loc[lost, "status"] = "diverged"
    found = comparisons(run, ["Own"])
    assert found[["n", "verdict"]].to_numpy().tolist() == [[10, BETTER], [1, INCONCLUSIVE]]


def test_cost_of_outliers_is_paired_and_a_ratio_for_distances():
    levels = {
        ("Own", "sigmoid", CLEAN): 31.0,
        ("Own", "sigmoid", SALT): 28.5,
        ("l1", "sigmoid", CLEAN): 31.0,
        ("l1", "sigmoid", SALT): 31.0,
    }
    run = run_of(levels)
    (table,) = tables(run, comparisons(run, ["Own"]))
    clean, salt = table.rows
    assert (clean[2].text, salt[2].text, salt[2].notes) == ("–", "2.50", ("2.50 to 2.50",))  # the scatter cancels
    assert salt[1].text == "28.50"
    noise = ("noise", 0.2)
    gan = run_of(
        {
            ("Own", "sigmoid", CLEAN): [10.0] * 10,
            ("Own", "sigmoid", noise): [20.0] * 10,
            ("l2", "sigmoid", CLEAN): [10.0] * 10,
            ("l2", "sigmoid", noise): [30.0] * 10,
        },
        "gan",
        "frechet",
    )
    found = comparisons(gan, ["Own"])
    assert found["verdict"].tolist() == [EQUIVALENT, BETTER]  # ln 1.5 is more than 0.25
    assert tables(gan, found)[0].rows[1][2].text == "2.00"


def test_a_run_without_a_loss_of_the_user_s_has_no_such_section():
    run = run_of({("l1", "raw", CLEAN): 31.0, ("l2", "raw", CLEAN): 30.0})
    assert comparisons(run, []).empty


@pytest.fixture(scope="module")
def reported(tmp_path_factory):
    path = tmp_path_factory.mktemp("yours") / "run"
    arms = (("bce", "sigmoid"), ("l1", "sigmoid"), ("l2", "sigmoid"), ("mine.losses:Tukey", "sigmoid"))
    write_run(path, 3, ("sr", "depth"), sr_arms=arms, samples=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bench.reports.build.FIGURES", {})
        write_report(path)
    return path


def test_the_report_starts_with_the_user_s_loss_in_numbers(reported):
    html = (reported / "report.html").read_text(encoding="utf-8")
    headline = html.split('<ul class="headline">')[1].split("</ul>")[0]
    first = re.sub("<[^>]+>", "", headline).strip()
    assert first.startswith("Your loss Tukey, 15 conditions on the sigmoid head: against BCE BETTER in 1")
    assert html.index('<h2 id="yours">') < html.index('<h2 id="verdicts">')
    verdicts = pd.read_csv(reported / "tables" / "your-loss-verdicts.csv")
    conditions = 11 + 4  # of super-resolution and of depth
    assert len(verdicts) == 3 * conditions
    assert set(verdicts["loss"]) == {"Tukey"}
    salt = verdicts[(verdicts["outlier"] == "salt") & (verdicts["rate"] == 0.2) & (verdicts["against"] == "l2")].iloc[0]
    assert salt["verdict"] == BETTER
    assert salt["effect"] == pytest.approx(12, abs=0.5)  # the synthetic L2 loses some 12 dB
    assert f"All {3 * conditions} comparisons of this section" in html
    assert "photos, ×2, judged by PSNR on Y (favours L2); + is better" in html
    assert html.count("Pictures are judged behind the sigmoid head") == 1  # no user's loss has the raw one
    assert (reported / "tables" / "your-loss-tukey-sr-photos-2.tex").read_text(encoding="utf-8").isascii()


def test_a_missing_raw_head_is_reported():
    names = Names({"mine:Own": "Own", "l1": "l1"}, {"photos": "photos"})
    levels = {("Own", "sigmoid", CLEAN): 31.0, ("l1", "sigmoid", CLEAN): 30.0}
    for more, behind in (({}, True), ({("Own", "raw", CLEAN): 31.0}, False)):
        run = replace(run_of(levels | more), manifest={})
        assert section(run, run, names).behind_sigmoid is behind


def test_the_minimiser_is_measured_and_broken_losses_are_skipped(tmp_path, monkeypatch):
    (tmp_path / "own_yours.py").write_text(
        "def square(p, t):\n    return (p - t) ** 2\n\n\ndef broken(p, t):\n    raise RuntimeError('no')\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    found = what_they_seek(["l1", "own_yours:square", "own_yours:broken", "own_yours:absent"])
    assert found == {"own_yours:square": {"minimiser": "the mean"}}
