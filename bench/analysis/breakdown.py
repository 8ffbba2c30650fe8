"""At which outlier rate has each loss lost 3 dB, as measured and as predicted?"""

import numpy as np
import pandas as pd

from bench.analysis.comparison import t_interval
from bench.analysis.summary import ARM, main_psnr_pairs, predict_psnr
from bench.store.reader import Run
from ganlab import theory
from ganlab.losses import LOSSES
from ganlab.outliers import OUTLIERS

LOST_DB = 3.0
FEWEST_RATES = 2  # interpolation needs two rates


def three_db_rates(run: Run) -> pd.DataFrame:
    """The 3 dB rate of each loss, head, and outlier kind, from the seeds that were run at the most rates.

    Columns: task, dataset, scale, outlier, loss, head; `n`, the number of seeds; `reached`, how many of them lose 3 dB
    up to `max_rate`; `mean`, `ci_low`, `ci_high` over seeds, NaN unless every seed reaches it; `from_rate`, `to_rate`,
    the rates of the run between which `mean` was interpolated; `predicted`; `closed_low`, `closed_high`, the range of
    the closed form over test images (mean-seekers only); `clean_mse`, the C of the theory.
    """
    pairs = main_psnr_pairs(run.cells, run.images, run.references)
    pairs = pairs.assign(lost=pairs["clean"] - pairs["psnr"], expected=pairs["clean"] - predict_psnr(pairs))
    rows = []
    keys = ["task", "dataset", "scale", "outlier", *ARM]
    for key, group in pairs.groupby(keys, dropna=False):
        outlier, loss = key[keys.index("outlier")], key[keys.index("loss")]
        is_control = outlier in OUTLIERS and OUTLIERS[outlier].mean is None
        if group["rate"].nunique() < FEWEST_RATES or is_control:
            continue
        rates_of = group.groupby("seed")["rate"].transform("nunique")
        group = group[rates_of == rates_of.max()]  # a coarser grid of rates would move the crossing
        seeds = [by_rate for _, by_rate in group.groupby(["seed", "rate"])[["lost", "expected"]].mean().groupby("seed")]
        crossings = [_crossing(by_rate["lost"].droplevel("seed")) for by_rate in seeds]
        expected = [_crossing(by_rate["expected"].droplevel("seed")) for by_rate in seeds]
        reached = int(np.isfinite(crossings).sum())
        interval = t_interval(crossings) if reached == len(crossings) else (np.nan,) * 3
        grid = np.r_[0.0, np.sort(group["rate"].unique())]
        clean_mse = 10 ** (-group["clean"] / 10)
        closed = _closed_form(group, clean_mse) if loss in LOSSES and LOSSES[loss].minimiser == "mean" else [np.nan]
        rows.append(
            {
                **dict(zip(keys, key, strict=True)),
                **{"n": len(crossings), "reached": reached, "max_rate": group["rate"].max()},
                **dict(zip(("mean", "ci_low", "ci_high"), interval, strict=True)),
                "from_rate": max(grid[grid <= interval[0]], default=np.nan),
                "to_rate": min(grid[grid >= interval[0]], default=np.nan),
                "predicted": np.mean(expected) if np.isfinite(expected).all() else np.nan,
                **{"closed_low": np.min(closed), "closed_high": np.max(closed), "clean_mse": clean_mse.mean()},
            }
        )
    return pd.DataFrame(rows).astype(dict.fromkeys(("mean", "ci_low", "ci_high"), float)) if rows else pd.DataFrame()


def _crossing(lost: pd.Series) -> float:
    """The first rate at which `lost` (dB, indexed by rising rate; 0 at rate 0) reaches 3 dB; NaN if it never does.

    >>> _crossing(pd.Series([1.0, 5.0], index=[0.25, 0.5]))
    0.375
    """
    rates, lost_db = np.r_[0.0, lost.index], np.r_[0.0, lost.to_numpy(float)]
    above = np.flatnonzero(lost_db >= LOST_DB)
    if not len(above):
        return np.nan
    step = slice(above[0] - 1, above[0] + 1)
    return float(np.interp(LOST_DB, lost_db[step], rates[step]))


def _closed_form(pairs: pd.DataFrame, clean_mse: pd.Series) -> np.ndarray:
    """The closed form's 3 dB rate of each test image, averaged over seeds."""
    rates = theory.three_db_rate(clean_mse, pairs["pull"] / pairs["rate"] ** 2)
    return pd.Series(rates).groupby(pairs["image"].to_numpy()).mean().to_numpy()
