"""A residual block, and a way to the same sums that fetches large feature maps from memory less often.

A CPU with matrix instructions multiplies bfloat16 so fast that a fifth of a wide network's step goes into adding and
clipping what a convolution has just written (in single precision, some twentieth). oneDNN's convolutions do both before
they write.
"""

from math import prod

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable
from torch.utils.flop_counter import register_flop_formula

ATEN, ONEDNN = torch.ops.aten, torch.ops.mkldnn
HERE = hasattr(ONEDNN, "_convolution_pointwise")  # not on every platform
FUSES_BFLOAT16 = HERE and torch.ops.mkldnn._is_mkldnn_bf16_supported()  # other processors' raise an error
TYPES = (torch.float32, torch.bfloat16) if FUSES_BFLOAT16 else (torch.float32,)
SAME = [1, 1], [1, 1], [1, 1], 1  # padding, stride, dilation, groups: a kernel of 3x3 that keeps the size
LARGE = 2**20  # bytes of a feature map; smaller ones lie in a core's cache, where nothing is gained, or a little lost


class ResidualBlock(nn.Module):
    """Convolution, ReLU, convolution, and a skip; no batch normalisation (Lim et al., "EDSR", CVPRW 2017).

    Feature maps (batch, channels, h, w) to as many. Large ones on a CPU go through `Fused`, unless `fuses` is False.
    """

    fuses = True

    def __init__(self, channels: int):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels, channels, 3, padding=1),
        )

    def forward(self, features: Tensor) -> Tensor:
        if self.fuses and gains(features):
            return Fused.apply(features, *self.body.parameters())
        return features + self.body(features)


def gains(features: Tensor) -> bool:
    """Whether a block over these is faster fused."""
    return HERE and features.dtype in TYPES and features.device.type == "cpu" and features.nbytes > LARGE


class Fused(torch.autograd.Function):
    """The block in two convolutions, of which the first clips and the second adds; its gradient in four and a ReLU's.

    Sums are rounded once, where the plain block rounds the convolution and then the sum: as near to exact arithmetic.
    """

    @staticmethod
    def forward(ctx: FunctionCtx, features: Tensor, *parameters: Tensor) -> Tensor:
        """Feature maps, and the two convolutions' weights and biases, which are taken in the type of the maps."""
        first, first_bias, second, second_bias = (parameter.to(features.dtype) for parameter in parameters)
        inner = ONEDNN._convolution_pointwise.default(features, first, first_bias, *SAME, "relu", [], "")
        ctx.save_for_backward(features, inner, first, second)
        return convolve_and_add(inner, second, second_bias, features)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor, ...]:
        """The gradients by features, weights, and biases; autograd gives each the type of what it belongs to."""
        features, inner, first, second = ctx.saved_tensors
        by_inner, *by_second = gradients(gradient, inner, second, [True, True, True])
        by_inner = ATEN.threshold_backward(by_inner, inner, 0)
        _, *by_first = gradients(by_inner, features, first, [False, True, True])
        turned = first.transpose(0, 1).flip(2, 3)  # a convolution's gradient by its input is one, its kernel turned
        return convolve_and_add(by_inner, turned, None, gradient), *by_first, *by_second


def convolve_and_add(maps: Tensor, weight: Tensor, bias: Tensor | None, other: Tensor) -> Tensor:
    """The convolution of some maps, plus others."""
    return ONEDNN._convolution_pointwise.binary(maps, other, weight, bias, *SAME, "add", 1.0, None, [], None)


def gradients(gradient: Tensor, maps: Tensor, weight: Tensor, wanted: list[bool]) -> tuple[Tensor, Tensor, Tensor]:
    """A convolution's gradients by maps, weight, and bias, of which only the wanted ones are computed."""
    padding, stride, dilation, groups = SAME
    return ATEN.convolution_backward(
        gradient, maps, weight, [weight.shape[0]], stride, padding, dilation, False, [0, 0], groups, wanted
    )


if HERE:

    @register_flop_formula(ONEDNN._convolution_pointwise)
    def work(maps: list[int], *shapes: list[int], out_shape: list[int], **_: object) -> int:
        """Floating-point operations of a fused convolution by the shapes of its arguments, as PyTorch counts others."""
        weight = next(shape for shape in shapes[::-1] if isinstance(shape, torch.Size) and len(shape) == 4)
        return 2 * prod(out_shape) * prod(weight[1:])
