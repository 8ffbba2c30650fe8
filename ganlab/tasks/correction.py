"""How is an image reconstructed that keeps its resolution? A network corrects a first guess."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ganlab.lazy import lazily
from ganlab.tasks.reconstruction import Reconstruction

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from ganlab import networks
else:
    lazily(globals(), torch="torch", networks="ganlab.networks")


class Correction(Reconstruction):
    """A reconstruction that keeps the resolution: a network corrects a first guess."""

    shrink = 1  # the network works at a resolution this many times lower, see `Corrector`

    def guess(self) -> Callable[[Tensor], Tensor]:
        """A function from inputs to first guesses, (batch, channels, height, width) each, that has no reference to
        the task."""
        raise NotImplementedError

    def baseline(self, name: str) -> Tensor:
        """The first guess, finished like a prediction."""
        return self.finish(self.guess()(self.pairs.test[name].given[None])[0])

    def shipped_network(self) -> torch.nn.Module:
        """Residual blocks that correct the first guess."""
        example = next(iter(self.pairs.train.values()))
        sizes = {"takes": len(example.given), "gives": len(example.target), "shrink": self.shrink}
        sizes |= {"channels": self.settings.channels, "blocks": self.settings.blocks}
        head, guess = self.experiment.head, self.guess()
        return networks.build_corrector(self.role, self.experiment.seed, **sizes, head=head, guess=guess)
