"""Options that several commands share."""

from typing import Annotated

import typer

Limit = Annotated[
    int | None, typer.Option("--limit", "-n", min=1, help="At most so many. Default: all.")
]
CampaignFilter = Annotated[
    str, typer.Option("--campaign", "-c", help="Only of this campaign: its id or name.")
]
ProfileFilter = Annotated[
    str, typer.Option("--profile", "-p", help="Only of this profile: its id or name.")
]
