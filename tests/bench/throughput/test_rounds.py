"""Rounds between real processes, on trivial source trees; and every reason that makes a comparison invalid."""

import contextlib
import itertools
from types import SimpleNamespace

import pytest

from bench.errors import Broken
from bench.throughput import compare as comparison
from bench.throughput import processes, rounds
from bench.throughput.cells import choose
from bench.throughput.gpu import Watch
from bench.throughput.judge import Rule
from bench.throughput.processes import REFERENCE, ForkServer, Side
from bench.throughput.records import Machine
from tests.support.fake_tree import write_tree

CELLS = {"sr l2": {"task": "sr", "loss": "l2"}}


@pytest.fixture(scope="module")
def server():
    with ForkServer() as server:
        yield server


@pytest.fixture(autouse=True)
def in_no_time(monkeypatch):
    monkeypatch.setattr(rounds, "CHUNK_S", 0.001)
    monkeypatch.setattr(rounds, "WARM_UP_S", 0.0005)


@pytest.fixture
def measured(server, tmp_path):
    """measured(head={...}, base={...}): one round of two trees with these lines in them."""

    def measure(head=None, base=None, index=0, plant=0.0):
        sides = (
            Side.of_tree("base", write_tree(tmp_path / "base", **base or {})),
            Side.of_tree("head", write_tree(tmp_path / "head", **head or {}), plant),
        )
        return rounds.measure(server, sides, CELLS, "cpu", index)

    return measure


def test_a_round(measured):
    found = measured()
    assert found.work == {"sr l2": {"parameters": 10, "images_per_step": 8}}
    assert abs(found.log_ratio["sr l2"]) < 1
    assert all(ms > 0 for ms in found.step_ms["sr l2"])


@pytest.mark.parametrize("index", [0, 1])
def test_a_positive_log_ratio_means_that_head_is_slower(measured, index):
    assert measured(plant=4.0, index=index).log_ratio["sr l2"] > 0.5  # 4 times its time is added: ln 5 = 1.6
    assert measured(base={"step": "sum(range(20000))"}, index=index).log_ratio["sr l2"] < -0.5


def test_printed_output_is_not_an_answer(measured):
    assert measured(head={"last": "print('noise', flush=True)", "step": "print('{\"wall_s\": 1}')"}).log_ratio


@pytest.mark.parametrize(
    ("head", "says"),
    [
        ({"parameters": 11}, "the sides do different work: parameters of base 10, head 11"),
        ({"images": 9}, "the sides do different work: images_per_step of base 8, head 9"),
        ({"step": "raise RuntimeError('no such thing')"}, "head: RuntimeError: no such thing"),
        ({"build": "raise ValueError('batch')"}, "head: ValueError: batch"),
        ({"step": "os._exit(3)"}, "head: its process died"),
        ({"step": "return torch.full((1,), math.nan)"}, "head: its training is not finite at step 4"),
        ({"step": "return torch.full((1,), math.inf)"}, "head: its training is not finite at step 4"),
        ({"last": "time.perf_counter = lambda: 0.0"}, "head: 4 steps took wall_s = 0.0"),
        ({"last": "time.perf_counter = lambda: math.nan"}, "head: 4 steps took wall_s = nan"),
        ({"last": "time.perf_counter = iter((0.0, math.inf)).__next__"}, "head: 4 steps took wall_s = inf"),
        ({"last": "raise ImportError('half a tree')"}, "head: ImportError: half a tree"),
        ({"last": "del TASKS['sr']"}, "head: KeyError: 'sr'"),
        ({"last": "sys.modules['ganlab.odd'] = os"}, "head: imported ganlab.odd from outside"),
    ],
)
def test_fails_closed(measured, head, says):
    with pytest.raises(Broken) as found:
        measured(head)
    assert says in str(found.value)
    with pytest.raises(Broken):  # and the other way round
        measured(base=head)


def test_a_side_without_answer_is_broken(measured, monkeypatch):
    monkeypatch.setattr(processes, "ANSWER_S", 0.2)
    with pytest.raises(Broken, match="no answer"):
        measured(head={"step": "time.sleep(60)"})


def test_the_wrong_tree_is_broken(server, tmp_path):
    """What an editable install does: base's name leads to head's code."""
    write_tree(tmp_path / "head")
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "ganlab").symlink_to(tmp_path / "head" / "ganlab")
    sides = Side.of_tree("base", tmp_path / "base"), Side.of_tree("head", tmp_path / "head")
    with pytest.raises(Broken, match=r"base: imported ganlab from .*/head/ganlab, not from .*/base/ganlab"):
        rounds.measure(server, sides, CELLS, "cpu", 0)


def test_a_tree_without_code_is_broken(server, tmp_path):
    sides = Side.of_tree("base", tmp_path), Side.of_tree("head", write_tree(tmp_path / "head"))
    with pytest.raises(Broken, match=r"base: .*ganlab"):
        rounds.measure(server, sides, CELLS, "cpu", 0)


def test_code_that_changes_during_measurement_is_broken(server, tmp_path):
    sides = Side.of_tree("base", write_tree(tmp_path / "base")), Side.of_tree("head", write_tree(tmp_path / "head"))
    write_tree(tmp_path / "head", step="sum(range(3000))")
    with pytest.raises(Broken, match=r"head: .* has changed since the comparison began"):
        rounds.measure(server, sides, CELLS, "cpu", 0)


def test_the_reference_takes_turns_with_a_tree(server, tmp_path):
    sides = REFERENCE, Side.of_tree("head", write_tree(tmp_path / "head"))
    found = rounds.measure(server, sides, CELLS, "cpu", 0)
    assert found.work["sr l2"] == {"parameters": 10, "images_per_step": 8}
    assert found.log_ratio["sr l2"] < 0  # a sum of a thousand numbers is quicker than a small network's step


def test_new_and_missing_cells():
    base = {"tasks": ["sr", "gan"], "losses": ["l1", "l2"]}
    head = {"tasks": ["sr", "location"], "losses": ["l2", "huber"]}
    choice = choose(base, head, lambda task, loss: True)
    assert list(choice.shared) == ["sr l2"]
    assert choice.new == ["sr huber", "location l2", "location huber"]
    assert choice.missing == ["sr l1", "gan l2", "gan l1"]


@pytest.fixture
def compared(server, tmp_path, monkeypatch):
    """compared(head={...}, base={...}): a whole comparison of two trees, six rounds long."""
    monkeypatch.setattr(comparison, "ForkServer", lambda: contextlib.nullcontext(server))

    def compare(head=None, base=None, **fields):
        sides = (
            Side.of_tree("base", write_tree(tmp_path / "base", **base or {})),
            Side.of_tree("head", write_tree(tmp_path / "head", **head or {})),
        )
        ticks = itertools.count()
        return comparison.run(
            sides, lambda task, loss: True, 3.0, "cpu", Rule(), ("a", "b"), clock=lambda: float(next(ticks)), **fields
        )

    return compare


def test_a_whole_comparison(compared):
    found = compared(head={"step": "sum(range(9000))", "losses": ("l2", "l7")})
    assert {one.cell: one.verdict for one in found.judgements} == {"sr l2": "SLOWER", "sr l7": "NEW"}
    assert found.verdict == "SLOWER"
    assert len(found.rounds) == 12  # two batches


def test_a_cell_that_head_lacks_is_broken(compared):
    found = compared(base={"losses": ("l1", "l2")})
    assert found.verdict == "BROKEN"
    assert found.judgements[-1].cell == "sr l1"
    assert "head lacks it" in found.judgements[-1].reason
    assert found.rounds == ()


def test_a_side_that_fails_is_broken(compared):
    found = compared(head={"step": "raise RuntimeError('no')"})
    assert (found.verdict, found.judgements[-1].reason) == ("BROKEN", "head: RuntimeError: no")


def test_more_memory_is_reported():
    grown = rounds.Round({}, {}, {"sr l2": (100.0, 111.0), "gan l2": (100.0, 109.0)}, {}, [])
    assert comparison.memory_notes([grown]) == ["sr l2: peak GPU memory 111 MiB, 11 % more than 100 MiB"]


class FakeNvml:
    """The few functions of pynvml that are used; one clock reading after another."""

    NVML_CLOCK_SM = 1

    class NVMLError(Exception):
        pass

    def __init__(self, clocks, reasons=0, processes=2):
        self.clocks, self.reasons, self.processes = iter(clocks), reasons, processes

    def nvmlDeviceGetHandleByUUID(self, uuid):
        assert uuid.startswith("GPU-")

    def nvmlDeviceGetClockInfo(self, handle, kind):
        return next(self.clocks)

    def nvmlDeviceGetCurrentClocksThrottleReasons(self, handle):
        return self.reasons

    def nvmlDeviceGetComputeRunningProcesses(self, handle):
        return [None] * self.processes


def test_gpu_watch():
    watch = Watch(FakeNvml([1980, 1980, 1500, 1900], reasons=0x4 | 0x1, processes=5), "1234")
    low = []
    for samples in (1, 1, 1, 1, 0):
        watch.forget()
        for _ in range(samples):
            watch.sample()
        low.append(watch.ran_low())
    assert low == [False, False, True, False, False]  # 1900 is within 5 % of 1980; no sample, no suspicion
    watch.count_foreign(2)
    assert watch.notes() == [
        "GPU: SM clock up to 1980 MHz",
        "GPU held back by: power cap",
        "GPU: 3 foreign processes computed on it",
    ]


def test_a_chunk_at_a_low_clock_is_repeated():
    """The clock sinks in the second and third try of a pair: its fourth counts."""
    asked = []

    def steps(first, count):
        asked.append(first)
        return {"steps": count, "net_s": float(len(asked)), "wall_s": 1.0}

    turns = [SimpleNamespace(side=SimpleNamespace(name=name), steps=steps) for name in ("base", "head")]
    low = iter([True, True, False])
    gpu = SimpleNamespace(ran_low=lambda: next(low), forget=lambda: None)
    replies = rounds.chunk_pair(turns, 7, {"base": 3, "head": 3}, gpu)
    assert asked == [7] * 6
    assert replies["head"]["net_s"] == 6.0


def test_two_machines_differ_in_words():
    here = Machine.current("cpu")
    other = here.model_copy(update={"cores": 64, "torch": "1.0"})
    assert here.difference(here) == ""
    assert here.difference(other) == f"cores {here.cores} against 64, torch {here.torch} against 1.0"
