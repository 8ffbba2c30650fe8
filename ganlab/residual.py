"""How is a residual block computed fast? On a CPU by fused convolutions, which access large feature maps less often.

A CPU with matrix instructions multiplies bfloat16 so fast that the ReLU and the addition after a convolution take a
fifth of a wide network's step (in single precision, about a twentieth). oneDNN's convolutions do both before they write
their result to memory.
"""

from math import prod

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable
from torch.utils.flop_counter import register_flop_formula  # takes 2 ms

ATEN, ONEDNN = torch.ops.aten, torch.ops.mkldnn
AVAILABLE = hasattr(ONEDNN, "_convolution_pointwise")  # not on every platform
FUSES_BFLOAT16 = AVAILABLE and ONEDNN._is_mkldnn_bf16_supported()  # on other processors it raises an error
TYPES = (torch.float32, torch.bfloat16) if FUSES_BFLOAT16 else (torch.float32,)
SAME = [1, 1], [1, 1], [1, 1], 1  # padding, stride, dilation, groups: a kernel of 3x3 that keeps the size
LARGE = 2**20  # bytes of a feature map; smaller ones stay in a core's cache, and fusing gains nothing


class ResidualBlock(nn.Module):
    """Convolution, ReLU, convolution, and a skip; no batch normalisation (Lim et al., "EDSR", CVPRW 2017).

    Feature maps (batch, channels, h, w) to the same shape. Large ones on a CPU go through `Fused`, unless `fuses` is
    False.
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
        if self.fuses and is_faster_fused(features):
            return Fused.apply(features, *self.body.parameters())
        return features + self.body(features)


def is_faster_fused(features: Tensor) -> bool:
    """Whether the fused block is available for these feature maps, and faster."""
    return AVAILABLE and features.dtype in TYPES and features.device.type == "cpu" and features.nbytes > LARGE


class SavedTensors(FunctionCtx):
    """The context that autograd passes to `Fused`; PyTorch's annotation omits the saved tensors."""

    saved_tensors: tuple[Tensor, ...]


class Fused(torch.autograd.Function):
    """The block as two convolutions, one fused with the ReLU and one with the addition, and its gradient.

    Sums are rounded once; the plain block rounds twice, after the convolution and after the addition.
    """

    @staticmethod
    def forward(ctx: SavedTensors, features: Tensor, *parameters: Tensor) -> Tensor:
        """The block's output (batch, channels, h, w); `parameters`, the weights and biases, are cast to its type."""
        first, first_bias, second, second_bias = (parameter.to(features.dtype) for parameter in parameters)
        inner = ONEDNN._convolution_pointwise.default(features, first, first_bias, *SAME, "relu", [], "")
        ctx.save_for_backward(features, inner, first, second)
        return convolve_and_add(inner, second, second_bias, features)

    @staticmethod
    @once_differentiable
    def backward(ctx: SavedTensors, gradient: Tensor) -> tuple[Tensor, ...]:
        """The gradients by features, weights, and biases; autograd casts each to the type of its tensor."""
        features, inner, first, second = ctx.saved_tensors
        by_inner, *by_second = gradients(gradient, inner, second, [True, True, True])
        by_inner = ATEN.threshold_backward(by_inner, inner, 0)
        _, *by_first = gradients(by_inner, features, first, [False, True, True])
        rotated = first.transpose(0, 1).flip(2, 3)  # the gradient by the input: a convolution with the rotated kernel
        return convolve_and_add(by_inner, rotated, None, gradient), *by_first, *by_second


def convolve_and_add(maps: Tensor, weight: Tensor, bias: Tensor | None, other: Tensor) -> Tensor:
    """The convolution of `maps`, plus `other`, both (batch, channels, h, w)."""
    return ONEDNN._convolution_pointwise.binary(maps, other, weight, bias, *SAME, "add", 1.0, None, [], None)


def gradients(gradient: Tensor, maps: Tensor, weight: Tensor, wanted: list[bool]) -> tuple[Tensor, Tensor, Tensor]:
    """A convolution's gradients by maps, weight, and bias; only those `wanted` are computed."""
    padding, stride, dilation, groups = SAME
    return ATEN.convolution_backward(
        gradient, maps, weight, [weight.shape[0]], stride, padding, dilation, False, [0, 0], groups, wanted
    )


if AVAILABLE:

    @register_flop_formula(ONEDNN._convolution_pointwise)
    def fused_convolution_flops(maps: list[int], *shapes: list[int], out_shape: list[int], **_: object) -> int:
        """Floating-point operations of a fused convolution from the shapes of its arguments, as in PyTorch."""
        weight = next(shape for shape in shapes[::-1] if isinstance(shape, torch.Size) and len(shape) == 4)
        return 2 * prod(out_shape) * prod(weight[1:])
