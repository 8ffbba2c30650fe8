"""Do the measurements agree with theory? Figures that show a prediction beside every measurement.

As in `bench.reports.figures.registry`, each takes a `Run` and returns a Figure, or None where the run has no such rows.
"""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bench.analysis import labels
from bench.analysis.labels import ARTICLE_D_LOSS, arm_name, arms_of, condition_name, signed
from bench.analysis.metrics import MARGIN_DB
from bench.analysis.prediction_errors import equilibrium, predictions
from bench.analysis.summary import MAIN_PSNR, pick, summary_of
from bench.reports.figures import style
from bench.reports.figures.style import colours, line_of, styled
from bench.store.reader import Run
from ganlab.outliers import CLEAN, OUTLIERS

NAMED = 6  # how many of the largest misses are named
YARDSTICKS = {
    "mean_error": "plain mean",
    "median_error": "median by coordinate",
    "oracle_error": "oracle: outliers known",
}
YARDSTICK_LINES = {"mean_error": (0, (6, 2)), "median_error": (0, (2, 2)), "oracle_error": "-"}


@styled
def predicted_psnr(run: Run) -> Figure | None:
    """Predicted against measured PSNR: a point per loss, head, outlier kind, and rate; the largest misses are named."""
    rows = predictions(run)
    if rows.empty:
        return None
    figure = Figure((12, 6.8), layout="constrained")
    axes, right = figure.subplots(1, 2, width_ratios=[1.2, 1])
    low, high = rows[["mean", "predicted"]].min().min() - 1, rows[["mean", "predicted"]].max().max() + 1
    band = np.array([low, high])
    axes.fill_between(band, band - MARGIN_DB, band + MARGIN_DB, color="#EDEDED")
    axes.plot(band, band, color=style.INK, lw=1)
    several = rows["task"].nunique() > 1
    task_kinds = [
        (task, kind) for task in MAIN_PSNR for kind in labels.in_order(pick(rows, task=task)["outlier"], OUTLIERS)
    ]
    names = [f"{labels.task_name(task)}, {kind}" if several else kind for task, kind in task_kinds]
    right.axvspan(-MARGIN_DB, MARGIN_DB, color="#EDEDED")
    right.axvline(0, color=style.INK, lw=1)
    arms = arms_of(rows)
    for index, (loss, head) in enumerate(arms):
        arm = pick(rows, loss=loss, head=head)
        mark_style = {"color": colours(run.cells)[loss], "marker": line_of(head)["marker"], "ls": ""}
        axes.errorbar(arm["predicted"], arm["mean"], (arm["ci_high"] - arm["mean"]).fillna(0), lw=1, **mark_style)
        y_positions = np.array([task_kinds.index(key) for key in zip(arm["task"], arm["outlier"], strict=True)], float)
        y_positions += style.dodge(index, len(arms), 0.6)
        right.plot(arm["miss"], y_positions, **mark_style)
    for number, row in enumerate(rows.head(NAMED).itertuples(), 1):
        y = task_kinds.index((row.task, row.outlier)) + style.dodge(arms.index((row.loss, row.head)), len(arms), 0.6)
        right.annotate(
            str(number),
            (row.miss, y),
            (-6 if row.miss < 0 else 6, 3),
            textcoords="offset points",
            ha="center",
            weight="bold",
            size=9.5,
        )
    axes.set(xlim=(low, high), ylim=(low, high), aspect="equal")
    metric_name = "PSNR" if several else labels.psnr_name(rows["task"].iloc[0])
    axes.set(xlabel=f"predicted {metric_name} (dB)", ylabel=f"measured {metric_name} (dB)")
    close = (rows["miss"].abs() <= MARGIN_DB).sum()
    middle = rows["miss"].abs().median()
    axes.set_title(f"{close} of {len(rows)} within {MARGIN_DB:g} dB (grey); in the median {middle:.2f} dB off")
    right.set_yticks(range(len(task_kinds)), names)
    right.set_ylim(len(task_kinds) - 0.5, -0.5)
    right.set(xlabel="measured minus predicted (dB)", title="by outlier kind; numbers: furthest off")
    lines = [
        f"{number}  {arm_name(row.loss, row.head)}, {f'{labels.task_name(row.task)}, ' if several else ''}"
        f"{condition_name(row.outlier, row.rate)}: {signed(row.miss)} dB"
        for number, row in enumerate(rows.head(NAMED).itertuples(), 1)
    ]
    handles = [
        Line2D(
            [], [], color=colours(run.cells)[loss], ls="", marker=line_of(head)["marker"], label=arm_name(loss, head)
        )
        for loss, head in arms
    ]
    note = style.seeds_note(rows["n_done"], bool(rows["ci_low"].notna().any())).replace("band", "bar")
    figure.legend(handles=handles, loc="outside lower left", ncols=3, title=note, alignment="left")
    blank = [Line2D([], [], ls="") for _ in lines]
    figure.legend(blank, lines, loc="outside lower right", title="Furthest off", alignment="left", handlelength=0)
    figure.suptitle("Predicted against measured test PSNR: a point per loss, kind, and rate", x=0.01, ha="left")
    return figure


@styled
def d_loss_equilibrium(run: Run) -> Figure | None:
    """The final d_loss beside its equilibrium: a row per data set and condition, a mark per loss."""
    rows = summary_of(run)[(summary_of(run)["metric"] == "d_loss") & summary_of(run)["task"].isin(("gan", "location"))]
    if rows.empty:
        return None
    lines = [
        (task, dataset, *condition)
        for (task, dataset), matches in rows.groupby(["task", "dataset"])
        for condition in labels.conditions_of(matches)
    ]
    figure = Figure((9.5, 0.62 * len(lines) + 1.9), layout="constrained")
    axes, equilibria = figure.subplots(), []
    for y, (task, dataset, outlier, rate) in enumerate(lines):
        matches = pick(rows, task=task, dataset=dataset, outlier=outlier, rate=rate)
        arms = arms_of(matches)
        for index, (loss, head) in enumerate(arms):
            row, y_position = pick(matches, loss=loss, head=head).iloc[0], y + style.dodge(index, len(arms), 0.6)
            colour = colours(run.cells)[loss]
            axes.plot(row[["ci_low", "ci_high"]].to_numpy(float), [y_position, y_position], color=colour, lw=2)
            axes.plot(row["mean"], y_position, line_of(head)["marker"], color=colour)
            expected = equilibrium(task, loss, head, outlier, rate)
            equilibria.append(expected)
            axes.plot(expected, y_position, "D", color=style.INK, mfc="none", ms=8)
        if y:
            axes.axhline(y - 0.5, color="#E3E3E3", lw=0.8)
    datasets = ["location" if task == "location" else dataset for task, dataset, *_ in lines]
    names = [f"{dataset_text}, {condition_name(*line[2:])}" for dataset_text, line in zip(datasets, lines, strict=True)]
    axes.set_yticks(range(len(lines)), names)
    axes.set_ylim(len(lines) - 0.5, -0.5)
    axes.grid(axis="y", visible=False)
    axes.axvline(ARTICLE_D_LOSS, color=style.YARDSTICK, lw=1.2, ls=":")
    not_positive = np.nanmin([*rows["mean"], *equilibria]) <= 0  # possible for Wasserstein
    axes.set_xlim(left=min(-0.03, axes.get_xlim()[0]) if not_positive else 0)
    axes.set_xlabel("d_loss at the end of training (location: on fresh samples)")
    handles = [
        Line2D([], [], color=colours(run.cells)[loss], marker=line_of(head)["marker"], label=arm_name(loss, head))
        for loss, head in arms_of(rows)
    ]
    handles.append(Line2D([], [], color=style.INK, marker="D", mfc="none", ms=8, ls="", label="equilibrium"))
    handles.append(Line2D([], [], color=style.YARDSTICK, ls=":", lw=1.2, label="the article's 0.5"))
    note = style.seeds_note(rows["n_done"]).replace("band", "bar")
    style.legend(figure, handles, note)
    figure.suptitle("Where d_loss ended, and where a perfect generator would leave it", x=0.01, ha="left")
    return figure


@styled
def location_error(run: Run) -> Figure | None:
    """Error of the location GAN against the outlier rate, beside mean, median, and oracle: a panel per kind."""
    rows = pick(summary_of(run), task="location")
    kinds = labels.in_order(set(rows["outlier"]) - {CLEAN}, OUTLIERS)
    if not kinds or "location_error" not in set(rows["metric"]):
        return None
    figure = Figure((5.2 * max(len(kinds), 1) + 1, 4.9), layout="constrained")
    for axes, kind in zip(figure.subplots(1, len(kinds), sharey=True, squeeze=False).flat, kinds, strict=True):
        kind_rows = rows[rows["outlier"].isin((kind, CLEAN))]
        arms = arms_of(kind_rows)
        for index, (loss, head) in enumerate(arms):
            line = pick(kind_rows, loss=loss, head=head, metric="location_error").sort_values("rate")
            x = 100 * (line["rate"] + style.dodge(index, len(arms), 0.04 * kind_rows["rate"].max()))
            down, up = line["mean"] - line["ci_low"].clip(lower=line["mean"] / 4), line["ci_high"] - line["mean"]
            axes.errorbar(
                x,
                line["mean"],
                (down.fillna(0), up.fillna(0)),
                color=colours(run.cells)[loss],
                capsize=3,
                **line_of(head),
            )
        for column in YARDSTICKS:
            line = pick(kind_rows, metric=column).groupby("rate")["mean"].mean()
            look = {"color": style.YARDSTICK, "lw": 1.4, "ls": YARDSTICK_LINES[column]}
            axes.axhline(line.iloc[0], **look) if len(line) == 1 else axes.plot(100 * line.index, line, **look)
        rates = sorted(set(kind_rows["rate"]))
        axes.set_xticks([100 * rate for rate in rates], [f"{100 * rate:.3g}" for rate in rates])
        edge = 10 * (rates[-1] - rates[0] or rates[0])
        axes.set_xlim(100 * rates[0] - edge, 100 * rates[-1] + edge)
        axes.set_xlabel("outlier rate (% of samples)")
        axes.set_title(f"{kind}: {OUTLIERS[kind].effect}" if kind in OUTLIERS else kind)
        style.log_scale(axes)
    figure.axes[0].set_ylabel("distance of the estimate from the truth\n(lower is better)")
    handles = style.arm_handles(run.cells, pick(rows, metric="location_error"))
    handles += [
        Line2D([], [], color=style.YARDSTICK, lw=1.4, ls=YARDSTICK_LINES[column], label=label)
        for column, label in YARDSTICKS.items()
    ]
    note = style.seeds_note(rows["n_done"]).replace("band", "bar")
    style.legend(figure, handles, note, most=3)
    figure.suptitle("Location GAN: how far the estimated mean is off", x=0.01, ha="left")
    return figure
