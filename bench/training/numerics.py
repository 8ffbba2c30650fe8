"""How exactly does a training process compute? Its numeric settings, explicit so that they can be recorded."""

import torch


def configure(device: torch.device) -> None:
    """Make the numeric settings of a training process: see `precision_settings`."""
    torch.set_num_threads(1)
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    if device.type == "cuda":
        torch.cuda.set_device(device)


def precision_settings() -> dict[str, bool]:
    """What `configure` sets, for the manifest."""
    return {"tf32_matmul": False, "tf32_cudnn": False, "cudnn_benchmark": False, "cudnn_deterministic": True}
