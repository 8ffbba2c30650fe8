"""Which device does a run use, and which precision is fast on it?"""

import pytest
import torch

from bench.training import device

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("flags", "fast"),
    [("avx2 f16c", "fp32"), ("avx512f avx512_vnni", "fp32"), ("avx512f avx512_bf16", "bf16"), ("amx_bf16", "bf16")],
)
def test_bfloat16_is_fast_where_the_processor_has_instructions_for_it(monkeypatch, tmp_path, flags, fast):
    file = tmp_path / "cpuinfo"
    file.write_text(f"processor\t: 0\nmodel name\t: Some 3\nflags\t\t: {flags}\n\nprocessor\t: 1\nflags\t\t: \n")
    monkeypatch.setattr(device, "CPUINFO", file)
    assert device.fast_precision(CPU) == fast
    assert device.device_description(CPU)["name"] == "Some 3"
    file.unlink()  # as on a Mac
    assert device.fast_precision(CPU) == "fp32"
    assert device.device_description(CPU)["name"]


@pytest.mark.parametrize(("capability", "fast"), [((7, 5), "fp32"), ((8, 0), "bf16"), ((9, 0), "bf16")])
def test_bfloat16_is_fast_from_ampere_on(monkeypatch, capability, fast):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda gpu: capability)
    assert device.fast_precision(torch.device("cuda:0")) == fast
