"""Are steps in blocks (drawn ahead, packed, read from the device) the plain steps, bit for bit?"""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from bench.training.checkpoints import Checkpoint, tensors_of
from bench.training.gpu import capture
from bench.training.gpu.capture import HostBlock, Replay, RowLayout
from bench.training.gpu.streams import SynchronousExecutor
from bench.training.gpu.turns import attempt
from bench.training.numerics import configure
from bench.training.outcome import Outcome
from bench.training.steps import learning_rate
from bench.training.train import train
from ganlab.losses import LOSSES
from ganlab.tasks import TASKS
from tests.conftest import TINY_GAN
from tests.support.small_data import CPU, cell, science, use_small_data

SPECTRAL = TINY_GAN["settings"] | {"discriminator_norm": "spectral"}
CELLS = [
    cell("sr", schedule="cosine"),
    cell("sr", optimizer="sgd", lr=0.1, head="raw", outlier="salt", rate=0.2, redraw=True),
    cell("sr", precision="bf16", loss="bce"),
    cell("depth", outlier="wrong-match", rate=0.2),
    cell("interpolation", precision="bf16", loss="bce"),
    cell("restoration", outlier="salt", rate=0.2, redraw=True),
    cell("gan", schedule="cosine"),
    cell("gan", settings=SPECTRAL, loss="bce"),
    cell("gan", optimizer="sgd", outlier="flip", rate=0.2),
    cell("gan", precision="bf16"),
    cell("location"),
    cell("location", optimizer="adam", lr=1e-3, schedule="cosine", precision="bf16"),
]


def name(plan) -> str:
    return "-".join((plan.task, plan.optimizer, plan.schedule, plan.precision, plan.outlier, str(len(plan.settings))))


every_kind = pytest.mark.parametrize("plan", CELLS, ids=name)


@pytest.fixture(autouse=True)
def small_data(monkeypatch):
    use_small_data(monkeypatch)


def outcome_of(plan, helpers, device=CPU, **how) -> Outcome:
    outcome = Outcome("crashed")
    with helpers:
        for waited_for in attempt(plan, device, outcome, Checkpoint(None, plan, device), helpers, **how):
            if waited_for:
                waited_for.exception()  # waits
    assert outcome.status == "done", outcome.reason
    return outcome


def replayed(plan, steps: int, device=CPU) -> tuple[object, torch.Tensor]:
    """A task after so many steps, the first a plain one and the others in blocks of at most five; and their log."""
    task = TASKS[plan.task](plan, device)
    plan_of_blocks = [range(a, min(a + 5, steps)) for a in range(1, steps, 5)]
    log = torch.zeros(steps, len(task.logged), device=device)
    log[0] = task.step(0)
    replay = Replay(task, iter(plan_of_blocks), lambda step: learning_rate(plan, step), SynchronousExecutor())
    for block in plan_of_blocks:
        replay.take(block, log[block.start : block.stop])
    assert replay.note == ""
    assert (replay.launch != replay.step) == (device.type == "cuda")
    return task, log


def plain(plan, steps: int, device=CPU) -> tuple[object, torch.Tensor]:
    task = TASKS[plan.task](plan, device)
    log = []
    for step in range(steps):
        task.set_learning_rate(learning_rate(plan, step))
        log.append(task.step(step))
    return task, torch.stack(log)


def test_a_row_returns_its_input():
    draw = torch.Generator().manual_seed(0)
    drawn = (
        torch.randint(9, (5,), generator=draw),
        torch.randn(3, 7, generator=draw),
        torch.tensor(0.3),
        torch.rand(4, generator=draw) < 0.5,
        torch.tensor(0.1, dtype=torch.float64),
        torch.randn(2, 3, 4, 5, generator=draw).contiguous(memory_format=torch.channels_last),
    )
    layout = RowLayout(drawn)
    block = HostBlock(layout, 3, CPU).fill(iter([[-part.float() for part in drawn], drawn]))
    for got, put in zip(layout.tensors(block.rows[1].clone()), drawn, strict=True):
        assert torch.equal(got, put)
        assert (got.dtype, got.stride()) == (put.dtype, put.stride())
        assert got.storage_offset() * got.element_size() % 16 == 0
    assert torch.equal(layout.tensors(block.rows[0])[1], -drawn[1])


@every_kind
def test_twenty_steps_from_rows_are_the_plain_ones(monkeypatch, plan):
    """Not to a tolerance: on a CPU the learning rate is a double in both."""
    steps = 20
    plan = plan.model_copy(update={"steps": steps})
    monkeypatch.setattr(capture, "BLOCK_STEPS", 5)
    (task, log), (twin, expected) = replayed(plan, steps), plain(plan, steps)
    assert torch.equal(log, expected)
    for (part, ours), (_, theirs) in zip(tensors_of(task), tensors_of(twin), strict=True):
        assert torch.equal(ours, theirs), part


@every_kind
def test_a_cell_in_blocks_with_threads_equals_the_plain_one(monkeypatch, plan):
    monkeypatch.setattr(capture, "BLOCK_STEPS", 3)  # the first step, 3 to the evaluation after 4, then 3 and 1
    expected = science(train(plan, CPU))
    assert science(outcome_of(plan, ThreadPoolExecutor(2), replay=True)) == expected


@every_kind
def test_a_step_changes_only_values(plan):
    """What a graph has captured, it reads and writes where it lay; and Python is not there to count along."""
    task = TASKS[plan.task](plan, CPU)
    for step in range(2):
        task.step(step)

    def places() -> dict[str, int]:
        return {part: tensor.data_ptr() for part, tensor in tensors_of(task)}

    def counted() -> dict[str, str]:
        kinds = bool | int | float | str | list | dict
        return {key: repr(value) for key, value in vars(task).items() if isinstance(value, kinds)}

    draws = [task.draw(step) for step in (2, 3)]
    before = places(), counted()
    for drawn in draws:
        task.advance(drawn)
    assert (places(), counted()) == before


class NoHost(TorchDispatchMode):
    """Fails where host memory is touched, or a value is waited for: neither may be captured."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for leaf in tree_leaves((args, kwargs, result)):
            assert not (isinstance(leaf, torch.Tensor) and leaf.device.type == "cpu"), f"{function} touches the host"
        assert not any(word in str(function) for word in ("_local_scalar_dense", "nonzero", "masked_select")), function
        return result


class Still:
    """In place of an optimizer, whose own capture is PyTorch's business."""

    def __init__(self, network: torch.nn.Module):
        self.network, self.param_groups = network, [{}]

    def zero_grad(self) -> None:
        self.network.zero_grad()

    def step(self) -> None:
        assert all(weight.grad is not None for weight in self.network.parameters())


def off_the_host(task, plan) -> None:
    """Move all that a GPU would hold to the device without memory, where every value is unknown."""
    networks = {"optimizer": "network", "g_optimizer": "generator", "d_optimizer": "discriminator"}
    on_the_host = ("host_targets", "host_inputs", "sizes", "order", "held_out")
    for key, part in list(vars(task).items()):
        if isinstance(part, torch.nn.Module):
            part.to("meta")
        elif isinstance(part, torch.optim.Optimizer):
            setattr(task, key, Still(getattr(task, networks[key])))
        elif isinstance(part, torch.Tensor) and key not in on_the_host:
            setattr(task, key, part.to("meta"))
    task.device = torch.device("meta")


def test_the_watch_detects_synchronisation():
    for waits in (lambda: torch.ones(2).to("meta"), lambda: torch.empty(2, device="meta") + torch.ones(())):
        with pytest.raises(AssertionError, match="touches the host"), NoHost():
            waits()


@pytest.mark.parametrize("plan", [plan for plan in CELLS if plan.precision == "fp32"], ids=name)
def test_a_step_and_a_snapshot_do_not_synchronise(monkeypatch, plan):
    never_waits(monkeypatch, plan)


@pytest.mark.parametrize("loss", LOSSES)
def test_no_loss_synchronises(monkeypatch, loss):
    never_waits(monkeypatch, cell("location", loss=loss))


def never_waits(monkeypatch, plan) -> None:
    """As far as that can be known without a GPU: on a device whose values nobody can ask for."""
    autocast = torch.autocast
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: autocast("cpu", enabled=False))  # knows no such device
    task = TASKS[plan.task](plan, CPU)
    task.step(0)
    drawn = tuple(part.to("meta") for part in task.draw(1))
    off_the_host(task, plan)
    task.advance(drawn)  # finds what is kept for good
    task.snapshot()
    with NoHost():
        logged = task.advance(drawn)
        seen = task.snapshot()
    assert logged.shape == (len(task.logged),)
    assert seen


def on_own_stream(device, work, *args):
    with torch.cuda.stream(torch.cuda.Stream(device)):
        result = work(*args)
        torch.cuda.current_stream(device).synchronize()
    return result


@every_kind
def test_a_graph_equals_the_plain_steps(cuda, monkeypatch, plan):
    configure(cuda)
    steps = 20
    plan = plan.model_copy(update={"steps": steps})
    monkeypatch.setattr(capture, "BLOCK_STEPS", 5)
    task, log = on_own_stream(cuda, replayed, plan, steps, cuda)
    twin, expected = on_own_stream(cuda, plain, plan, steps, cuda)
    near = {"rtol": 2e-2, "atol": 2e-3} if plan.precision == "bf16" else {"rtol": 1e-3, "atol": 1e-5}
    torch.testing.assert_close(log, expected, **near)
    for (part, ours), (_, theirs) in zip(tensors_of(task), tensors_of(twin), strict=True):
        torch.testing.assert_close(ours, theirs, **near, msg=part)


def test_capturing_changes_nothing(cuda):
    configure(cuda)
    plan = cell("gan", settings=SPECTRAL)

    def around() -> tuple[dict, dict]:
        task = TASKS["gan"](plan, cuda)
        task.step(0)
        replay = Replay(task, iter([range(1, 4)]), lambda step: learning_rate(plan, step), SynchronousExecutor())
        replay.take(range(1, 4), torch.zeros(3, len(task.logged), device=cuda))
        before = {part: tensor.clone() for part, tensor in tensors_of(task)}
        replay.capture()
        assert replay.launch != replay.step, replay.note
        return before, dict(tensors_of(task))

    before, after = on_own_stream(cuda, around)
    for part, tensor in before.items():
        assert torch.equal(after[part], tensor), part


@pytest.mark.parametrize("refused", [False, True])
def test_a_step_that_cannot_be_captured_is_launched_kernel_by_kernel_and_says_so(monkeypatch, refused):
    class Graph:
        def replay(self) -> None: ...

        def reset(self) -> None: ...

    class Capturing:
        def __init__(self, graph, stream, capture_error_mode):
            assert capture_error_mode == "thread_local"  # helpers go on meanwhile

        def __enter__(self):
            if refused:
                raise RuntimeError("operation not permitted\nwhen stream is capturing")

        def __exit__(self, *_): ...

    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(torch.cuda, "graph", Capturing)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: None)
    plan = cell("location")
    task = TASKS["location"](plan, CPU)
    task.step(0)
    replay = Replay(task, iter([range(1, 3)]), lambda step: learning_rate(plan, step), SynchronousExecutor())
    replay.take(range(1, 3), torch.zeros(2, len(task.logged)))
    replay.counter.zero_()
    replay.capture()
    assert (replay.launch == replay.step) == refused
    expected = "its step was not captured: operation not permitted when stream is capturing"
    assert replay.note == (expected if refused else "")
