"""What does `python -m tools.stress` do? It runs the kills and the scenarios and prints a table."""

import random
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from ganlab.errors import no_such
from tools.stress.kills import Killer
from tools.stress.runs import Failed, call
from tools.stress.scenarios import SCENARIOS, CannotRun

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
console = Console(markup=False, highlight=False, soft_wrap=True)


@app.command()
def main(
    kills: Annotated[int, typer.Option(min=0, help="how many random kills of runner or worker")] = 50,
    seed: Annotated[int | None, typer.Option(help="who is killed, and when [default: another one each time]")] = None,
    only: Annotated[list[str] | None, typer.Option(help="only these scenarios, and no kills; repeatable")] = None,
    keep: Annotated[bool, typer.Option("--keep", help="keep the run directories also where everything holds")] = False,
) -> None:
    """Kill and disturb runs of suite smoke; exit code 0 only if every result is correct. Linux only."""
    seed = random.SystemRandom().randrange(10**6) if seed is None else seed
    if sys.platform != "linux":
        raise typer.BadParameter("this runs on Linux, where processes are found through /proc")
    for name in set(only or ()) - {*SCENARIOS, "kills"}:
        raise typer.BadParameter(no_such("scenario", name, ("kills", *SCENARIOS)))
    chosen = [name for name in ("kills", *SCENARIOS) if (not only or name in only) and (name != "kills" or kills)]
    folder = Path(tempfile.mkdtemp(prefix="stress-"))
    console.print(f"seed {seed}, in {folder}")
    began = time.monotonic()
    call(folder, "run", "smoke", "--out", folder / "warm")  # fills the caches for later runs
    started = time.monotonic()
    ended = call(folder, "run", "smoke", "--out", folder / "unbroken", "--workers", 2)
    if ended.code:
        console.print(f"the unbroken run ended with exit code {ended.code}: {ended.err}")
        raise typer.Exit(1)
    seconds = time.monotonic() - started
    console.print(f"unbroken run: {seconds:.0f} s")
    command = f"python -m tools.stress --kills {kills} --seed {seed}"
    table = Table("what", "holds", "seconds", "what was seen", title=command)
    failed = 0
    for name in chosen:
        started, scenario_folder = time.monotonic(), folder / name
        scenario_folder.mkdir()
        try:
            if name == "kills":
                killer = Killer(folder / "unbroken", seconds, kills, random.Random(seed), console.print)
                holds, seen = "yes", str(killer.rounds(scenario_folder))
            else:
                holds, seen = "yes", SCENARIOS[name](scenario_folder, folder / "unbroken")
        except CannotRun as error:
            holds, seen = "not run", str(error)
        except Failed as error:
            holds, seen = "NO", str(error)
        failed += holds != "yes"
        seen = seen.replace(f"{folder}/", "")
        table.add_row(name, holds, f"{time.monotonic() - started:.0f}", seen)
        console.print(f"{name}: {holds}: {seen}")
    console.print(table)
    console.print(f"{len(chosen) - failed} of {len(chosen)} hold, {(time.monotonic() - began) / 60:.0f} minutes")
    if failed or keep:
        console.print(f"run directories are kept in {folder}")
    else:
        shutil.rmtree(folder)
    raise typer.Exit(bool(failed))


if __name__ == "__main__":
    app()
