"""Which weights does a cell with samples save? Those of its single network, if it is small enough."""

import numpy as np
from torch import nn

from bench.store.weights import MOST_BYTES


def weights_of(network: object) -> dict[str, np.ndarray]:
    """The state of a network by name; empty if there is no network, or it is too large."""
    state = network.state_dict() if isinstance(network, nn.Module) else {}
    if sum(value.nbytes for value in state.values()) > MOST_BYTES:
        return {}
    host = {name: value.detach().cpu().contiguous() for name, value in state.items()}
    return {name: (value.float() if value.is_floating_point() else value).numpy() for name, value in host.items()}
