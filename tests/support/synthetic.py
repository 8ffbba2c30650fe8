"""What does a plausible run directory look like? Writes one of any size in a second, without any training.

Numbers follow science.md: mean-seekers are on the closed form plus noise, L1 falls slightly, the GAN's d_loss ends near
its equilibrium. Statuses, samples, seeds, losses, and tasks can be reduced to get partial and unusual runs; with
`varied` there are also rows that tune, predict, and vary schedule, optimizer, and unit.
"""

import hashlib
import itertools
from pathlib import Path

import numpy as np
from PIL import Image
from skimage import data

from bench.store.schema import COLUMNS, SCHEMA_VERSION
from bench.store.writer import RunDirectory
from ganlab.equilibria import contaminated_location, equilibrium_d_loss
from ganlab.theory import mean_seeker_psnr_db

SR_ARMS = (("bce", "sigmoid"), ("l1", "sigmoid"), ("l1", "raw"), ("l2", "sigmoid"), ("l2", "raw"))
GAN_ARMS = (("bce", "sigmoid"), ("l1", "sigmoid"), ("l2", "sigmoid"))
SR_RATES = {"impulse": (0.1, 0.2, 0.4), "salt": (0.05, 0.1, 0.2, 0.4), "salt-pepper": (0.2, 0.4), "jitter": (0.5,)}
DEPTH_RATES = {"missing": (0.1, 0.2), "wrong-match": (0.2,)}
INTERPOLATION_RATES = {"salt": (0.2,), "overlay": (0.25,)}
RESTORATION_RATES = {"overlay": (0.25,), "impulse": (0.7,)}
GAN_RATES = {"noise": (0.1, 0.2), "flip": (0.1,)}
TEST_IMAGES = {"camera": 27.5, "chelsea": 33.0, "flower": 35.5, "rocket": 31.0}  # clean PSNR on Y, dB
MEANS = {"impulse": 0.5, "salt": 1.0, "salt-pepper": 0.5, "overlay": 0.5, "missing": 0.0, "wrong-match": 0.5}
EQUILIBRIUM = {"bce": 0.6931, "l2": 0.25, "l1": 0.5}
FRECHET = {"bce": 24.0, "l2": 31.0, "l1": 160.0}
STEP_MS = {"data": 0.4, "forward": 9.0, "loss": 0.5, "backward": 18.0, "optimizer": 1.5}
GAN_STEP_MS = {
    **{"data": 0.2, "g_forward": 4.0, "g_loss": 0.2, "g_backward": 6.0, "g_optimizer": 0.8},
    **{"d_forward": 5.0, "d_loss": 0.3, "d_backward": 7.0, "d_optimizer": 0.7},
}
ROUNDS = 5
RECONSTRUCTIONS = ("sr", "depth", "interpolation", "restoration")
DATASETS = {
    **{"sr": "photos", "depth": "stereo", "interpolation": "motion", "restoration": "photographs"},
    **{"gan": "mnist", "location": "gaussian"},
}
USERS = ("mine.losses:Tukey", "lib_a.robust:Welsch", "lib_b.robust:Welsch")  # a user's losses
LOCATION_RATES = {"far": (0.1, 0.2), "near": (0.2,)}
LOCATION_ERROR = {"bce": 0.052, "l2": 0.050, "l1": 0.16}
LRS = (3e-4, 1e-3, 3e-3)
TILE = 64


def write_run(
    path: Path,
    seeds: int = 3,
    tasks: tuple[str, ...] = ("sr", "gan"),
    varied: bool = False,
    sr_arms: tuple[tuple[str, str], ...] = SR_ARMS,
    gan_arms: tuple[tuple[str, str], ...] = GAN_ARMS,
    not_done: dict[int, tuple[str, str]] | None = None,
    samples: bool = True,
    title: str = "Synthetic run",
    finished: bool = True,
    places: dict[str, tuple[dict, ...]] | None = None,
) -> Path:
    """Write a run directory and return its path.

    Args:
        seeds: seeds per condition.
        tasks: of sr, depth, interpolation, restoration, gan, and location.
        varied: whether super-resolution also has cells that tune, predict, and vary schedule, optimizer, and unit.
        sr_arms: the losses and heads of every reconstruction; a user's own among them is as robust as L1, and better.
        not_done: (status, reason) by the cell's position in cells.csv; such cells have no read-outs.
        samples: whether cells of the first seed have pictures.
        finished: whether the manifest marks the run as finished.
        places: by task the data sets (and magnifications) on which all of it is repeated, as columns of cells.csv.
    """
    arms = dict.fromkeys(RECONSTRUCTIONS, sr_arms) | {"gan": gan_arms, "location": GAN_ARMS}
    rates = {
        **{"sr": SR_RATES, "depth": DEPTH_RATES, "interpolation": INTERPOLATION_RATES},
        **{"restoration": RESTORATION_RATES, "gan": GAN_RATES, "location": LOCATION_RATES},
    }
    tables: dict[str, list[dict]] = {name: [] for name in COLUMNS if name not in ("summary", "claims")}
    pictures: dict[str, np.ndarray] = {}
    manifest_samples: dict[str, dict] = {}
    for task, seed in itertools.product(tasks, range(seeds)):
        conditions = [("clean", 0.0), *((kind, rate) for kind, all_ in rates[task].items() for rate in all_)]
        if task == "location":
            del conditions[0]
        for (outlier, rate), (loss, head) in itertools.product(conditions, arms[task]):
            for place in (places or {}).get(task, ({},)):
                tables["cells"].append(_cell(task, loss, head, outlier, rate, seed, **place))
    if varied:
        tables["cells"] += [cell for seed in range(seeds) for cell in _varied_cells(seed)]
    for number, cell in enumerate(tables["cells"]):
        status, reason = (not_done or {}).get(number, ("done", ""))
        cell |= {"status": status, "reason": reason}
        if status == "done":
            {"gan": _finish_gan, "location": _finish_location}.get(cell["task"], _finish_reconstruction)(cell, tables)
            pictured = cell["task"] != "location" and cell["role"] == "report"
            if samples and cell["seed"] == 0 and pictured:
                picture, entry = _gan_sample(cell) if cell["task"] == "gan" else _crops(cell)
                pictures[cell["cell_id"]], manifest_samples[cell["cell_id"]] = picture, entry
    tables["timing"] = [
        row for task in tasks if task != "location" for loss, head in arms[task] for row in _timing(task, loss, head)
    ]
    manifest = _manifest(path.name, title, len(tables["cells"]), manifest_samples, finished)
    with RunDirectory(path) as directory:
        directory.publish(manifest, tables)
        for cell_id, picture in pictures.items():
            directory.write_sample(cell_id, picture)
    return path


def write_large_run(path: Path, cells: int) -> Path:
    """A run directory of at least `cells` cells, in the proportions of a large suite: many data sets and losses."""
    sr_arms = (*SR_ARMS, ("huber", "raw"), ("charbonnier", "raw"))
    places = {
        "sr": tuple({"dataset": name, "scale": scale} for name in ("photos", "set5", "set14") for scale in (2, 4)),
        "gan": tuple({"dataset": name} for name in ("mnist", "fashion-mnist")),
    }
    per_seed = 6 * 7 * 11 + 2 * 3 * 4 + 9 + 37  # of super-resolution, GAN, location GAN, and what varies
    seeds = -(-cells // per_seed)
    return write_run(path, seeds, ("sr", "gan", "location"), varied=True, sr_arms=sr_arms, places=places)


def _rng(*key: object) -> np.random.Generator:
    return np.random.default_rng(int(hashlib.sha256(repr(key).encode()).hexdigest()[:12], 16))


def _cell(task: str, loss: str, head: str, outlier: str, rate: float, seed: int, **other: object) -> dict:
    """A declared cell; `other` replaces the setting shared by all."""
    setting = {
        **{"role": "report", "schedule": "cosine", "optimizer": "adam", "lr": 1e-3, "value_range": 1.0},
        **{"batch_size": 16, "precision": "float32", "redraw": 0, "expected": 0, "settings": "{}", "steps": 1000},
    }
    if task == "restoration":
        setting["settings"] = '{"input_outlier": "overlay", "input_rate": 0.25}'
    setting |= other
    key = (task, loss, head, outlier, rate, seed, *sorted(setting.items()))
    return {
        **{"cell_id": hashlib.sha256(repr(key).encode()).hexdigest()[:12], "task": task},
        "code": "c0de+89abcdef" if loss in USERS else "c0de",
        **{"dataset": DATASETS[task], "loss": loss, "head": head, "outlier": outlier, "rate": rate, "seed": seed},
        **{"scale": 2 if task == "sr" else None, "device": "cpu", "attempts": 1},
        **{"train_s": 12.5, "eval_s": 0.5, "images_per_s": 800.0, "cells_sharing_device": 2},
    } | setting


def _varied_cells(seed: int) -> list[dict]:
    """Super-resolution that tunes the rate, predicts L1 under salt, and varies schedule, optimizer, and unit."""
    expected = {"role": "reference", "expected": 1}
    cells = [_cell("sr", "l1", "raw", "salt", rate, seed, **expected) for rate in SR_RATES["salt"]]
    for loss, schedule, optimizer in itertools.product(("l1", "l2"), ("constant", "cosine"), ("adam", "sgd")):
        where = {"schedule": schedule, "optimizer": optimizer}
        tuning = [_cell("sr", loss, "raw", "clean", 0.0, 100 + seed, role="tune", lr=lr, **where) for lr in LRS]
        cells += tuning
        if (schedule, optimizer) != ("cosine", "adam"):  # that is the main setting, which has its cells
            cells.append(_cell("sr", loss, "raw", "clean", 0.0, seed, **where))
    return cells + [_cell("sr", loss, "raw", "clean", 0.0, seed, value_range=255.0) for loss in ("l1", "l2")]


def _mean_mse(image: str, outlier: str) -> tuple[float, float]:
    """m = mean((x - mu)^2) of a test image on RGB and on Y."""
    m = 0.05 + 0.02 * list(TEST_IMAGES).index(image) + (0.25 if outlier == "salt" else 0.0)
    return m, m * (219 / 255) ** 2


def _finish_reconstruction(cell: dict, tables: dict[str, list[dict]]) -> None:
    task, loss, outlier, rate, seed = (cell[key] for key in ("task", "loss", "outlier", "rate", "seed"))
    offset = {"l1": 0.05, "bce": -0.05}.get(loss, 0.0) + (0.03 if cell["head"] == "raw" else 0.0)
    offset += 0.5 if loss in USERS else 0.0
    rows = []
    for image, level in TEST_IMAGES.items():
        clean = level + offset + 0.1 * _rng(image, seed).standard_normal()
        m, m_y = _mean_mse(image, outlier) if outlier in MEANS else (0.0, 0.0)
        if loss == "l1" or loss in USERS:
            psnr = clean - {"salt": 10 * rate**2, "impulse": 6 * rate**2, "jitter": 1.2 * rate}.get(outlier, 0.0)
        else:
            psnr = float(mean_seeker_psnr_db(clean, rate, rate**2 * m_y))
        psnr -= 2 * abs(np.log10(cell["lr"] / 1e-3)) + 0.3 * (cell["schedule"] == "constant")
        psnr += 0.05 * _rng(image, seed, loss, cell["head"], outlier, rate).standard_normal()
        rows.append(
            {
                "cell_id": cell["cell_id"],
                "image": image,
                "psnr_db": psnr - 1.2,
                "psnr_y_db": psnr,
                "ssim": 0.5 + psnr / 80,
            }
            | {"mae": 10 ** (-psnr / 20) * 0.7, "pull_mse": rate**2 * m, "pull_mse_y": rate**2 * m_y}
            | dict.fromkeys(("clipping_mse", "clipping_mse_y"), 0.02 * (rate > 0.5))
            | ({"bicubic_psnr_y_db": level - 3.0} if task == "sr" else {"baseline_psnr_db": level - 6.0})
            | ({"baseline_psnr_y_db": level - 5.0} if task in ("interpolation", "restoration") else {})
        )
        if task == "depth":  # disparity has one channel, and no Y
            grey = {"psnr_db": rows[-1].pop("psnr_y_db"), "pull_mse": rows[-1].pop("pull_mse_y")}
            del rows[-1]["clipping_mse"], rows[-1]["clipping_mse_y"]
            rows[-1] |= grey | {"disparity_error_px": 300 / psnr**1.5, "bad_pixels": min(1, 5 / psnr)}
    tables["images"] += rows
    for metric in rows[0].keys() - {"cell_id", "image", "pull_mse", "pull_mse_y", "clipping_mse", "clipping_mse_y"}:
        cell[metric] = float(np.mean([row[metric] for row in rows]))
    cell["wobble_db"] = 0.3 if cell["schedule"] == "constant" else 0.02
    for step in np.linspace(50, 1000, 12).astype(int):
        progress = 1 - np.exp(-step / 250)
        main = "psnr_db" if task == "depth" else "psnr_y_db"
        tables["curves"].append(_point(cell, step, f"val_{main}", cell[main] - 5 * (1 - progress)))
        tables["curves"].append(_point(cell, step, "train_loss", 0.1 * (1 - progress) + 0.01))


def _finish_gan(cell: dict, tables: dict[str, list[dict]]) -> None:
    loss, rate = cell["loss"], cell["rate"]
    rng = _rng("gan", cell["cell_id"])
    end = EQUILIBRIUM.get(loss, 0.4)
    dead = loss == "l1" and cell["seed"] == 0
    frechet = FRECHET.get(loss, 40.0) * (1 + 2 * rate) * float(np.exp(0.1 * rng.standard_normal()))
    gap = 0.0 if dead else 0.08
    readouts = {
        **{"frechet": frechet, "frechet_floor": 8.0, "kid": frechet / 4000, "density": 0.8, "coverage": 0.7},
        **{"classes": 10, "outlier_share": rate, "g_loss": end * 1.2, "d_loss": end, "real_loss": end * 1.1},
        **{
            "fake_loss": end * 0.9,
            "procedure_ok": 1,
            "mean_d_real": 0.5 + gap,
            "mean_d_fake": 0.5 - gap,
            "dead_discriminator": int(dead),
        },
    }
    readouts["dead_discriminator"] = int(dead)
    cell |= readouts | {"procedure_ok": 1}
    for step in np.linspace(50, 1000, 12).astype(int):
        progress = 1 - np.exp(-step / 250)
        for metric, value in readouts.items():
            if metric != "frechet_floor":
                start = value * 8 if metric == "frechet" else value * (0.6 + 0.05 * rng.standard_normal())
                tables["curves"].append(_point(cell, step, metric, start + (value - start) * progress))


def _finish_location(cell: dict, tables: dict[str, list[dict]]) -> None:
    loss, rate = cell["loss"], cell["rate"]
    noise = float(np.exp(0.05 * _rng("location", cell["cell_id"]).standard_normal()))
    equilibrium = equilibrium_d_loss(loss, contaminated_location(rate, 50.0 if cell["outlier"] == "far" else 5.0))
    cell |= {
        **{"location_error": LOCATION_ERROR[loss] * noise, "oracle_error": 0.05 * noise, "d_loss": equilibrium * noise},
        **{"median_error": 16 * rate, "mean_error": 50 * rate, "g_loss": 0.8, "dead_discriminator": 0},
    }
    for step in np.linspace(100, 1000, 10).astype(int):
        tables["curves"].append(_point(cell, step, "location_error", cell["location_error"] * 1000 / step))


def _point(cell: dict, step: int, metric: str, value: float) -> dict:
    return {"cell_id": cell["cell_id"], "step": int(step), "metric": metric, "value": float(value)}


def _timing(task: str, loss: str, head: str) -> list[dict]:
    phases = GAN_STEP_MS if task == "gan" else STEP_MS
    cost = {"l1": 0.98, "l2": 0.99}.get(loss, 1.0)
    rows = []
    for round_ in range(ROUNDS):
        drift = float(_rng("drift", task, round_).uniform(0.9, 1.2))  # the machine's, shared by all losses of a round
        ms = {
            p: t * drift * cost * float(_rng(task, loss, head, p, round_).uniform(0.99, 1.01))
            for p, t in phases.items()
        }
        ms["step"] = sum(ms.values()) * 1.01
        where = {"task": task, "dataset": DATASETS[task], "loss": loss, "head": head}
        where |= {"device": "cpu", "round": round_, "batch_size": 16}
        rows += [where | {"phase": phase, "ms": value} for phase, value in ms.items()]
    return rows


def _crops(cell: dict) -> tuple[np.ndarray, dict]:
    """Two test images, each as target, baseline, and prediction, TILE pixels square, without gaps."""
    astronaut, chelsea = data.astronaut(), data.chelsea()
    crops = [astronaut[100 : 100 + TILE, 200 : 200 + TILE], chelsea[90 : 90 + TILE, 120 : 120 + TILE]]
    pull = cell["rate"] * (0.3 if cell["loss"] in ("l1", *USERS) else 1.0) * (cell["outlier"] in MEANS)
    rows = []
    for crop in crops:
        small = Image.fromarray(crop).resize((TILE // 2, TILE // 2), Image.Resampling.BICUBIC)
        bicubic = np.asarray(small.resize((TILE, TILE), Image.Resampling.BICUBIC))
        sharper = 0.6 * crop + 0.4 * bicubic
        predicted = (1 - pull) * sharper + pull * 255 * MEANS.get(cell["outlier"], 0.5)
        rows.append(np.hstack([crop, bicubic, predicted.round().astype(np.uint8)]))
    entry = {
        "kind": cell["task"],
        "images": ["camera", "chelsea"],
        "columns": ["target", "bicubic" if cell["task"] == "sr" else "baseline", "prediction"],
        "tile": TILE,
    }
    return np.vstack(rows), entry


def _gan_sample(cell: dict) -> tuple[np.ndarray, dict]:
    """An 8 x 8 grid of 28-pixel blobs; a share of them, the outlier rate, is noise."""
    rng = _rng("sample", cell["cell_id"])
    y, x = np.mgrid[:28, :28]
    tiles = []
    for _ in range(64):
        if rng.random() < cell["rate"] and cell["outlier"] == "noise":
            tiles.append(rng.uniform(0, 255, (28, 28)))
        else:
            cy, cx, width = rng.uniform(9, 19), rng.uniform(9, 19), rng.uniform(3, 6)
            tiles.append(255 * np.exp(-(((y - cy) / width) ** 2 + ((x - cx) / width) ** 2)))
    grid = np.array(tiles).reshape(8, 8, 28, 28).swapaxes(1, 2).reshape(224, 224)
    return grid.astype(np.uint8), {"kind": "gan", "rows": 8, "columns": 8, "tile": 28}


def _manifest(name: str, title: str, cells: int, samples: dict, finished: bool) -> dict:
    return {
        **{
            "schema_version": SCHEMA_VERSION,
            "suite": {"name": name, "title": title},
            "cells": cells,
            "samples": samples,
        },
        "git": {"commit": "0123456789abcdef0123456789abcdef01234567", "dirty": False},
        "packages": {"torch": "2.9.0", "numpy": "2.4.6", "pandas": "3.1.1"},
        **{"device": {"name": "Synthetic CPU", "type": "cpu", "cores": 2}, "threads": 1, "precision": "float32"},
        **{"data": {"photos": "ab" * 32, "mnist": "cd" * 32}, "credits": ["Camera: scikit-image, CC0"]},
        "classifiers": {"mnist": {"sha256": "ef" * 32, "accuracy": 0.991}},
        "started": "2025-01-02T03:04:05+00:00",
        "finished": "2025-01-02T03:12:35+00:00" if finished else None,
        "argv": ["python", "-m", "bench", "run", name],
    }
