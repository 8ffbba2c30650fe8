"""Many cells as one: stacked cells train like single ones, also in blocks; on a GPU their step is captured."""

import pytest
import torch

from bench.training.gpu.capture import block_length
from bench.training.numerics import configure
from ganlab.tasks import TASKS
from tools.peers import arms, trainer
from tools.peers.stacked import NETWORKS, Stacked, seeds_of_one_fold

CPU = torch.device("cpu")
STACKED = [
    {"task": "sr", "loss": "l1", "head": "raw"},
    {"task": "sr", "loss": "l2", "optimizer": "sgd", "lr": 0.1},
    {"task": "sr", "loss": "l1", "precision": "bf16"},
    {"task": "gan"},
    {"task": "gan", "precision": "bf16"},
    {"task": "gan", "loss": "l2", "optimizer": "sgd", "lr": 0.01},  # at 0.1 rounding opens another unit in step 10
]


def weights_of(network: torch.nn.Module) -> torch.Tensor:
    return torch.cat([weight.detach().flatten() for weight in network.parameters()])


@pytest.mark.parametrize("settings", STACKED, ids=lambda settings: "-".join(map(str, settings.values())))
def test_stacked_cells_train_like_single_cells(experiment, settings):
    """Twenty steps of three cells: what lies between their weights is a small share of the way they went, though Adam
    makes a whole step of what rounding makes of a gradient near 0, and bfloat16 rounds to 8 bits."""
    plan, share = experiment(**settings), 0.15 if settings.get("precision") == "bf16" else 0.01
    stack = Stacked(plan, CPU, 3)
    alone = [TASKS[plan.task](plan.model_copy(update={"seed": seed}), CPU) for seed in seeds_of_one_fold(plan, 3)]
    networks = [name for name in NETWORKS.values() if hasattr(alone[0], name)]
    starts = {name: [weights_of(getattr(cell, name)) for cell in alone] for name in networks}
    for step in range(1, 21):
        logged = torch.stack([cell.step(step) for cell in alone]).mean(0)
        torch.testing.assert_close(stack.step(step), logged, rtol=share, atol=share / 100)
    for name in networks:
        stacked = getattr(stack.whole, name).stacked
        for place, (cell, start) in enumerate(zip(alone, starts[name], strict=True)):
            theirs = weights_of(getattr(cell, name))
            ours = torch.cat([weight[place].detach().flatten() for weight in stacked])
            assert (ours - theirs).norm() < share * (theirs - start).norm()


def test_members_of_a_stack_train_on_the_same_photographs(experiment):
    assert seeds_of_one_fold(experiment("sr", seed=1), 3) == [1, 4, 7]  # three folds take turns
    assert seeds_of_one_fold(experiment("gan", seed=1), 3) == [1, 2, 3]


def test_cells_whose_data_depend_on_the_seed_are_not_stacked(experiment):
    with pytest.raises(ValueError, match=r"stacked cells share their data, but outliers \(salt\) depend on the seed"):
        Stacked(experiment("sr", loss="l1", outlier="salt", rate=0.2), CPU, 2)


def test_a_stack_runs_blocks_of_steps_for_all_its_cells(experiment):
    plan = experiment("sr", loss="l1", head="raw")
    pack = arms.Blocks(plan, CPU, "fp32", stacked=2)
    (lane,) = pack.lanes
    assert pack.take() == 2 * block_length(lane.step.task)
    assert lane.step.task.images_per_step == 2 * trainer.work(pack)["images_per_step"] == 2 * plan.batch_size


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("task", ["sr", "gan"])
def test_a_stack_is_captured_on_a_gpu(experiment, cuda, task, precision):
    configure(cuda)
    plan = experiment(task, loss="l1", precision=precision)
    pack, plain = arms.Blocks(plan, cuda, precision, stacked=2), Stacked(plan, cuda, 2)
    for step in range(1, 2 + pack.take() // 2):
        logged = plain.step(step)
    assert pack.note == ""
    (lane,) = pack.lanes
    torch.cuda.synchronize(cuda)
    share = 2e-2 if precision == "bf16" else 1e-3
    torch.testing.assert_close(lane.log[-1], logged, rtol=share, atol=share / 10)
