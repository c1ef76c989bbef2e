"""What importing a table takes, whatever its rows are about."""

from pathlib import Path
from typing import Annotated

import typer

BATCH_MAX = 1000

FileArgument = Annotated[
    Path, typer.Argument(help="CSV, TSV, JSON Lines (each also gzipped) or Parquet, by its name.")
]
Batch = Annotated[int, typer.Option("--batch", min=1, max=BATCH_MAX, help="Rows a call.")]
Parallel = Annotated[
    int, typer.Option("--parallel", min=1, max=32, help="Calls at a time; 1 keeps the order.")
]
Errors = Annotated[
    Path | None,
    typer.Option("--errors", help="Write refused rows here, as JSON Lines with the reason."),
]
Resume = Annotated[
    Path | None,
    typer.Option("--resume", help="Remember here how far it is. Default: FILE.import beside it."),
]
Anew = Annotated[
    bool, typer.Option("--anew", help="Forget what was imported before; begin from the first row.")
]
Delimiter = Annotated[
    str, typer.Option("--delimiter", help="Between the fields of a CSV file. Default: a comma.")
]
