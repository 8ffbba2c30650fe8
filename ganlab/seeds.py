"""Where does randomness come from?

Every random number is drawn on the CPU by a generator derived from (seed, purpose, step). So there is no
generator state to save, and every loss and every device of a seed sees the same numbers.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from threading import RLock
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

_global_state = RLock()  # PyTorch's initialisers draw from a state that all threads share


def generator(seed: int, purpose: str, step: int = 0) -> torch.Generator:
    """A new CPU generator that depends only on its arguments.

    Args:
        seed: the cell's seed, 0 or more.
        purpose: what the numbers are for ("batch", "latent", ...); two purposes never share numbers.
        step: the training step, 0 or more.
    """
    import torch

    entropy = np.random.SeedSequence([seed, zlib.crc32(purpose.encode()), step])
    return torch.Generator().manual_seed(int(entropy.generate_state(1, np.uint64)[0]))


@contextmanager
def seeded_weights(seed: int, purpose: str) -> Iterator[None]:
    """Inside, PyTorch's own initialisers draw from (seed, purpose); the global state is restored afterwards."""
    import torch

    with _global_state, torch.random.fork_rng(devices=[]):
        torch.manual_seed(generator(seed, purpose).initial_seed())
        yield
