"""Which numeric settings does a training process use? They are explicit so that they can be recorded."""

import torch


def configure(device: torch.device) -> None:
    """Apply the numeric settings of a training process; see `precision_settings`."""
    torch.set_num_threads(1)
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    if device.type == "cuda":
        torch.cuda.set_device(device)


def precision_settings() -> dict[str, bool]:
    """The settings of `configure`, for the manifest."""
    return {"tf32_matmul": False, "tf32_cudnn": False, "cudnn_benchmark": False, "cudnn_deterministic": True}
