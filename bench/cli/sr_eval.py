"""How good are bicubic upscaling and a trained cell on a folder of images? The verb `sr-eval`."""

from pathlib import Path
from typing import Annotated

import typer

from bench import api
from bench.errors import UsageError, one_line


def sr_eval(
    test: Annotated[Path, typer.Option(help="a folder of images; each is measured without cropping", metavar="PATH")],
    scale: Annotated[
        int | None, typer.Option(min=2, max=4, help="factor of super-resolution [default: the cell's, or 2]")
    ] = None,
    cell: Annotated[
        str,
        typer.Option(help="a trained cell to compare with bicubic, as results/quick/CELL_ID", metavar="RUN/CELL_ID"),
    ] = "",
    network: Annotated[
        str | None, typer.Option(help="your own network that the cell was trained with, as mymodule:build")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="write the table there as CSV, too")] = None,
) -> None:
    """PSNR and SSIM of bicubic upscaling, and of a trained cell, on each image of a folder, as papers state them."""
    from bench.store.files import write_atomically
    from ganlab.datasets.folders import label

    if out and out.is_dir():
        raise UsageError(f"--out {out}: that is a folder; name a file, as {out / 'table.csv'}")
    table = api.evaluate_sr(test, cell=cell, network=network, scale=scale)
    for file, reason in table.skipped.items():
        typer.echo(f"skipped: {label(file)}: {reason}", err=True)
    for line in table.lines():
        typer.echo(line)
    if out:
        try:
            write_atomically(out, table.csv())
        except OSError as error:
            raise UsageError(f"--out {one_line(error)}") from None
        typer.echo(str(out))
