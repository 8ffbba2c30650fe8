"""What does a plausible run directory look like? Writes one of any size in a second, without any training.

Numbers follow science.md: mean-seekers lie on the closed form plus noise, L1 falls a little, the GAN's d_loss ends
near its equilibrium. Statuses, samples, seeds, losses, and tasks can be thinned out to get partial and odd runs.
"""

import hashlib
import itertools
from pathlib import Path

import numpy as np
from PIL import Image
from skimage import data

from bench.store import COLUMNS, SCHEMA_VERSION, RunDirectory
from ganlab.theory import mean_seeker_psnr_db

SR_ARMS = (("bce", "sigmoid"), ("l1", "sigmoid"), ("l1", "raw"), ("l2", "sigmoid"), ("l2", "raw"))
GAN_ARMS = (("bce", "sigmoid"), ("l1", "sigmoid"), ("l2", "sigmoid"))
SR_RATES = {"impulse": (0.1, 0.2, 0.4), "salt": (0.05, 0.1, 0.2, 0.4), "salt-pepper": (0.2, 0.4), "jitter": (0.5,)}
GAN_RATES = {"noise": (0.1, 0.2), "flip": (0.1,)}
TEST_IMAGES = {"camera": 27.5, "chelsea": 33.0, "flower": 35.5, "rocket": 31.0}  # clean PSNR on Y, dB
MEANS = {"impulse": 0.5, "salt": 1.0, "salt-pepper": 0.5}
EQUILIBRIUM = {"bce": 0.6931, "l2": 0.25, "l1": 0.5}
FRECHET = {"bce": 24.0, "l2": 31.0, "l1": 160.0}
STEP_MS = {"data": 0.4, "forward": 9.0, "loss": 0.5, "backward": 18.0, "optimizer": 1.5}
GAN_STEP_MS = {
    **{"data": 0.2, "g_forward": 4.0, "g_loss": 0.2, "g_backward": 6.0, "g_optimizer": 0.8},
    **{"d_forward": 5.0, "d_loss": 0.3, "d_backward": 7.0, "d_optimizer": 0.7},
}
ROUNDS = 5
TILE = 64


def write_run(
    path: Path,
    seeds: int = 3,
    tasks: tuple[str, ...] = ("sr", "gan"),
    sr_arms: tuple[tuple[str, str], ...] = SR_ARMS,
    gan_arms: tuple[tuple[str, str], ...] = GAN_ARMS,
    not_done: dict[int, tuple[str, str]] | None = None,
    samples: bool = True,
    title: str = "Synthetic run",
    finished: bool = True,
) -> Path:
    """Write a run directory and return its path.

    Args:
        seeds: seeds per condition.
        not_done: (status, reason) by the cell's position in cells.csv; such cells have no read-outs.
        samples: whether the first seed's cells leave pictures.
        finished: whether the manifest says so.
    """
    arms = {"sr": sr_arms, "gan": gan_arms}
    rates = {"sr": SR_RATES, "gan": GAN_RATES}
    tables: dict[str, list[dict]] = {name: [] for name in COLUMNS if name != "summary"}
    pictures: dict[str, np.ndarray] = {}
    manifest_samples: dict[str, dict] = {}
    for task, seed in itertools.product(tasks, range(seeds)):
        conditions = [("clean", 0.0), *((kind, rate) for kind, all_ in rates[task].items() for rate in all_)]
        for (outlier, rate), (loss, head) in itertools.product(conditions, arms[task]):
            cell = _cell(task, loss, head, outlier, rate, seed)
            tables["cells"].append(cell)
            status, reason = (not_done or {}).get(len(tables["cells"]) - 1, ("done", ""))
            cell |= {"status": status, "reason": reason}
            if status == "done":
                (_finish_sr if task == "sr" else _finish_gan)(cell, tables)
                if samples and seed == 0:
                    picture, entry = _sr_sample(cell) if task == "sr" else _gan_sample(cell)
                    pictures[cell["cell_id"]], manifest_samples[cell["cell_id"]] = picture, entry
    tables["timing"] = [row for task in tasks for loss, head in arms[task] for row in _timing(task, loss, head)]
    manifest = _manifest(path.name, title, len(tables["cells"]), manifest_samples, finished)
    with RunDirectory(path) as directory:
        directory.publish(manifest, tables)
        for cell_id, picture in pictures.items():
            directory.write_sample(cell_id, picture)
    return path


def _rng(*key: object) -> np.random.Generator:
    return np.random.default_rng(int(hashlib.sha256(repr(key).encode()).hexdigest()[:12], 16))


def _cell(task: str, loss: str, head: str, outlier: str, rate: float, seed: int) -> dict:
    cell_id = hashlib.sha256(repr((task, loss, head, outlier, rate, seed)).encode()).hexdigest()[:12]
    return {
        **{"cell_id": cell_id, "code": "c0de", "role": "report", "task": task, "loss": loss, "head": head},
        **{"dataset": "photos" if task == "sr" else "mnist", "outlier": outlier, "rate": rate, "schedule": "cosine"},
        **{"optimizer": "adam", "lr": 1e-3, "seed": seed, "scale": 2 if task == "sr" else None, "value_range": 1.0},
        **{"batch_size": 16, "precision": "float32", "device": "cpu", "attempts": 1, "steps": 1000, "settings": "{}"},
        **{"train_s": 12.5, "eval_s": 0.5, "images_per_s": 800.0, "cells_sharing_device": 2},
    }


def _mean_mse(image: str, outlier: str) -> tuple[float, float]:
    """m = mean((x - mu)^2) of a test image on RGB and on Y."""
    m = 0.05 + 0.02 * list(TEST_IMAGES).index(image) + (0.25 if outlier == "salt" else 0.0)
    return m, m * (219 / 255) ** 2


def _finish_sr(cell: dict, tables: dict[str, list[dict]]) -> None:
    loss, outlier, rate, seed = cell["loss"], cell["outlier"], cell["rate"], cell["seed"]
    offset = {"l1": 0.05, "bce": -0.05}.get(loss, 0.0) + (0.03 if cell["head"] == "raw" else 0.0)
    rows = []
    for image, level in TEST_IMAGES.items():
        clean = level + offset + 0.1 * _rng(image, seed).standard_normal()
        m, m_y = _mean_mse(image, outlier) if outlier in MEANS else (0.0, 0.0)
        if loss == "l1":
            psnr = clean - {"salt": 10 * rate**2, "impulse": 6 * rate**2, "jitter": 1.2 * rate}.get(outlier, 0.0)
        else:
            psnr = float(mean_seeker_psnr_db(clean, rate, rate**2 * m_y))
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
            | {"bicubic_psnr_y_db": level - 3.0}
        )
    tables["images"] += rows
    for metric in ("psnr_db", "psnr_y_db", "ssim", "mae", "bicubic_psnr_y_db"):
        cell[metric] = float(np.mean([row[metric] for row in rows]))
    for step in np.linspace(50, 1000, 12).astype(int):
        progress = 1 - np.exp(-step / 250)
        value = cell["psnr_y_db"] - 5 * (1 - progress)
        tables["curves"].append(_point(cell, step, "val_psnr_y_db", value))
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
        **{"fake_loss": end * 0.9, "mean_d_real": 0.5 + gap, "mean_d_fake": 0.5 - gap, "dead_discriminator": int(dead)},
    }
    cell |= readouts
    for step in np.linspace(50, 1000, 12).astype(int):
        progress = 1 - np.exp(-step / 250)
        for metric, value in readouts.items():
            if metric != "frechet_floor":
                start = value * 8 if metric == "frechet" else value * (0.6 + 0.05 * rng.standard_normal())
                tables["curves"].append(_point(cell, step, metric, start + (value - start) * progress))


def _point(cell: dict, step: int, metric: str, value: float) -> dict:
    return {"cell_id": cell["cell_id"], "step": int(step), "metric": metric, "value": float(value)}


def _timing(task: str, loss: str, head: str) -> list[dict]:
    phases = STEP_MS if task == "sr" else GAN_STEP_MS
    cost = {"l1": 0.98, "l2": 0.99}.get(loss, 1.0)
    rows = []
    for round_ in range(ROUNDS):
        drift = float(_rng("drift", task, round_).uniform(0.9, 1.2))  # the machine's, shared by all losses of a round
        ms = {
            p: t * drift * cost * float(_rng(task, loss, head, p, round_).uniform(0.99, 1.01))
            for p, t in phases.items()
        }
        ms["step"] = sum(ms.values()) * 1.01
        where = {"task": task, "dataset": "photos" if task == "sr" else "mnist", "loss": loss, "head": head}
        where |= {"device": "cpu", "round": round_, "batch_size": 16}
        rows += [where | {"phase": phase, "ms": value} for phase, value in ms.items()]
    return rows


def _sr_sample(cell: dict) -> tuple[np.ndarray, dict]:
    """Two test images, each as target, bicubic, and prediction, TILE pixels square, without gaps."""
    astronaut, chelsea = data.astronaut(), data.chelsea()
    crops = [astronaut[100 : 100 + TILE, 200 : 200 + TILE], chelsea[90 : 90 + TILE, 120 : 120 + TILE]]
    pull = cell["rate"] * (0.3 if cell["loss"] == "l1" else 1.0) * (cell["outlier"] in MEANS)
    rows = []
    for crop in crops:
        small = Image.fromarray(crop).resize((TILE // 2, TILE // 2), Image.Resampling.BICUBIC)
        bicubic = np.asarray(small.resize((TILE, TILE), Image.Resampling.BICUBIC))
        sharper = 0.6 * crop + 0.4 * bicubic
        predicted = (1 - pull) * sharper + pull * 255 * MEANS.get(cell["outlier"], 0.5)
        rows.append(np.hstack([crop, bicubic, predicted.round().astype(np.uint8)]))
    entry = {
        "kind": "sr",
        "images": ["camera", "chelsea"],
        "columns": ["target", "bicubic", "prediction"],
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
