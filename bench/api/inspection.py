"""Which losses and data sets are available, are they usable, and how good is a trained network?"""

from pathlib import Path
from typing import TYPE_CHECKING

from bench.errors import UsageError, one_exception
from bench.plan.order import UserCode, dataset_name, reference_to
from ganlab.lazy import lazily

if TYPE_CHECKING:
    import pandas as pd

    from bench.api import sr_eval
    from bench.loss_check import examine as loss_check
    from ganlab import datasets, losses, plugins
else:
    lazily(globals(), pd="pandas", loss_check="bench.loss_check.examine", sr_eval="bench.api.sr_eval")
    lazily(globals(), datasets="ganlab.datasets", losses="ganlab.losses", plugins="ganlab.plugins")

SCALES = (2, 3, 4)


def list_losses() -> "pd.DataFrame":
    """The losses: `name` (`pinball-TAU` and `barron-ALPHA` stand for families) and `summary`.

    >>> from bench import list_losses
    >>> {"bce", "l1", "l2", "huber", "hinge"} <= set(list_losses()["name"])
    True
    """
    rows = [(name, _summary(name)) for name in losses.known_names()]
    for prefix, family in losses.FAMILIES.items():
        rows.append((prefix + family.parameter, f"{family.description}; {family.parameter} is {family.range}"))
    return pd.DataFrame(rows, columns=["name", "summary"])


def _summary(name: str) -> str:
    """One line on a loss."""
    shipped = losses.find_shipped(name)
    if shipped is None:
        return f"from an installed package: {plugins.entry_points(plugins.LOSSES_GROUP)[name]}"
    if shipped.objective:
        return "an objective of scores: gan and location, raw head"
    seeks = f"seeks the {shipped.minimiser}" if shipped.minimiser else "seeks neither mean nor median"
    return f"{seeks}; {' and '.join(shipped.heads)} head" + ("; learns parameters: no GAN" if shipped.build else "")


def check_loss(loss: UserCode) -> "loss_check.LossCheck":
    """Check a loss before any training: its findings, and the best predictions for a pixel under outliers.

    >>> from bench import check_loss
    >>> check = check_loss("l1")
    >>> check.failed, check.expectation[:16]
    ((), 'a median-seeker:')
    >>> pixel = check.outliers.set_index(["outlier", "rate"]).loc[("salt", 0.2)]  # 0.3 on clean targets
    >>> bool(pixel["l1"] < 0.35 < 0.4 < pixel["l2"])
    True

    Args:
        loss: a name, a reference `package.module:MyLoss`, or a function or class itself.

    Raises:
        BenchError: no such loss, or it cannot be loaded or called.
    """
    with one_exception():
        return loss_check.examine(reference_to(loss))


def list_data() -> "pd.DataFrame":
    """The data sets: `name`, whether it is `here` (on this machine), `description`. `folder:PATH` is another one.

    >>> from bench import list_data
    >>> bool(list_data().set_index("name").loc["photographs", "here"])
    True
    """
    with one_exception():
        return pd.DataFrame(
            [
                {"name": name, "here": datasets.available(name), "description": entry.description}
                for name, entry in datasets.DATASETS.items()
            ]
        )


def fetch_data(name: str) -> Path:
    """Download a data set; returns its folder.

    >>> from bench import fetch_data
    >>> fetch_data("digits").is_dir()  # comes with a package
    True

    Raises:
        BenchError: no such data set, or it cannot be downloaded.
    """
    with one_exception():
        return datasets.fetch(name)


def check_data(name: str | Path) -> "datasets.FolderCheck":
    """Which tasks a folder of images fits, and which files are skipped and why.

    >>> import tempfile
    >>> from bench import check_data
    >>> from PIL import Image
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for number in range(30):
    ...         Image.effect_noise((72, 72), 50).save(f"{folder}/{number}.png")
    ...     Image.effect_noise((20, 20), 50).save(f"{folder}/small.png")
    ...     check = check_data(Path(folder))
    >>> "photographs, for sr and restoration" in check.fits, "small grey images, for gan" in check.refused
    (True, True)
    >>> check.skipped["photographs, for sr and restoration"]
    {'small.png': '20 x 20 pixels, at least 68 x 68 are needed'}

    Args:
        name: `folder:PATH`, `folder:TRAIN::TEST`, or the Path of a folder.

    Raises:
        BenchError: there is no such folder.
    """
    with one_exception():
        name = dataset_name(name)
        if not datasets.is_folder(name):
            raise UsageError(f"data check {name!r}: name a folder, as in `python -m bench data check folder:PATH`")
        return datasets.check_folder(name)


def evaluate_sr(
    test: str | Path, *, cell: str = "", network: UserCode | None = None, scale: int | None = None
) -> "sr_eval.EvaluationTable":
    """PSNR (dB, on Y and RGB) and SSIM of bicubic upscaling and of a trained cell, as papers report them.

    >>> import tempfile
    >>> from bench import evaluate_sr
    >>> from PIL import Image
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     Image.effect_noise((64, 48), 50).save(f"{folder}/noise.png")
    ...     table = evaluate_sr(folder, scale=3)
    >>> table.frame[["image", "height", "width", "scale"]].values.tolist()
    [['noise.png', 48, 64, 3]]
    >>> bool(table.means()["bicubic_psnr_y_db"] == table.frame["bicubic_psnr_y_db"].mean())
    True

    Args:
        test: a folder of images; each is measured without cropping.
        cell: a trained cell to compare with bicubic: RUN/CELL_ID.
        network: the user's network that the cell was trained with.
        scale: factor of super-resolution, 2, 3, or 4; None means the factor of the cell, or 2.

    Returns:
        `frame`, a row for each image; `means()`; `skipped`, the files that were not measured and the reasons.

    Raises:
        BenchError: no such folder or cell, or no image that can be measured.
    """
    with one_exception():
        if scale not in (None, *SCALES):
            raise UsageError(f"--scale {scale}: there are {', '.join(map(str, SCALES))}")
        reference = reference_to(network) if network else None
        trained = sr_eval.trained_cell(str(cell), scale, reference) if cell else None
        return sr_eval.evaluate(Path(test), trained.scale if trained else scale or sr_eval.DEFAULT_SCALE, trained)
