"""Which columns do the tables of a run directory have? Those of the contract, "A run directory"."""

SCHEMA_VERSION = 1
SETTING_COLUMNS = (
    *("task", "dataset", "loss", "head", "outlier", "rate", "schedule", "optimizer", "lr", "seed", "scale"),
    *("value_range", "batch_size", "precision", "redraw", "expected", "device"),
)
MEASURED_COLUMNS = ("train_s", "eval_s", "images_per_s", "peak_memory_mib", "attempts")  # may differ between equal runs
COLUMNS: dict[str, tuple[str, ...]] = {
    "cells": (
        *("cell_id", "code", "role", *SETTING_COLUMNS, "first_seeds", "most_seeds"),
        *("status", "reason", "attempts", "steps"),
        *("train_s", "eval_s", "images_per_s", "cells_sharing_device", "peak_memory_mib", "settings"),
        *("psnr_db", "psnr_y_db", "ssim", "mae", "bce_excess", "bias_mse", "wobble_db"),
        "bicubic_psnr_y_db",
        *("baseline_psnr_db", "baseline_psnr_y_db", "disparity_error_px", "bad_pixels"),
        *("frechet", "frechet_floor", "kid", "density", "coverage", "classes", "outlier_share"),
        *("g_loss", "d_loss", "real_loss", "fake_loss", "mean_d_real", "mean_d_fake"),
        *("dead_discriminator", "procedure_ok", "location_error", "median_error", "mean_error", "oracle_error"),
    ),
    "images": (
        *("cell_id", "image", "psnr_db", "psnr_y_db", "ssim", "mae"),
        *("bicubic_psnr_y_db", "pull_mse", "pull_mse_y", "clipping_mse", "clipping_mse_y"),
        *("cross_black", "cross_white", "cross_black_y", "cross_white_y"),
        *("baseline_psnr_db", "baseline_psnr_y_db", "disparity_error_px", "bad_pixels"),
    ),
    "curves": ("cell_id", "step", "metric", "value"),
    "timing": ("task", "dataset", "loss", "head", "device", "phase", "round", "batch_size", "ms"),
    "summary": (
        *("task", "dataset", "loss", "head", "outlier", "rate", "schedule", "optimizer", "lr", "n", "n_done"),
        *("metric", "mean", "ci_low", "ci_high", "predicted"),
        *("scale", "value_range", "batch_size", "precision", "redraw", "settings"),
    ),
    "claims": (
        *("claim", "statement", "rule", "estimate", "unit", "ci_low", "ci_high", "margin", "n", "p_value", "p_holm"),
        *("mde", "verdict", "cells"),
        *("about", "document", "p_sign_flip", "seeds_needed", "images_ci_low", "images_ci_high"),
        *("over_time", "over_time_ci_low", "over_time_ci_high", "may_conclude", "population", "learning", "rates"),
        "look",
    ),
}
LATER = frozenset(  # columns that earlier versions did not write
    (
        *("baseline_psnr_db", "baseline_psnr_y_db", "disparity_error_px", "bad_pixels"),
        *("clipping_mse", "clipping_mse_y", "first_seeds", "most_seeds", "expected"),
        *("cross_black", "cross_white", "cross_black_y", "cross_white_y"),
    )
)
READOUTS = COLUMNS["cells"][COLUMNS["cells"].index("settings") + 1 :]  # columns that are empty unless a cell is done
MEASURED = ("cells", "images", "curves", "timing")  # the tables that a report reads; it computes the others
TEXT_COLUMNS = frozenset(
    (
        *(
            "cell_id",
            "code",
            "role",
            "task",
            "dataset",
            "loss",
            "head",
            "outlier",
            "schedule",
            "optimizer",
            "precision",
        ),
        *("device", "status", "reason", "settings", "image", "metric", "phase"),
        *("claim", "statement", "rule", "unit", "verdict", "cells", "about", "document", "may_conclude"),
        *("population", "learning", "rates"),
    )
)
DIGITS, CURVE_DIGITS = 8, 6  # significant digits in CSV files; curves are long and only plotted


def base_code(code: str) -> str:
    """The fingerprint of the project in a `code`, without user code: cells with the same one are comparable.

    >>> base_code("0123456789ab+89abcdef"), base_code("0123456789ab")
    ('0123456789ab', '0123456789ab')
    """
    return code.partition("+")[0]
