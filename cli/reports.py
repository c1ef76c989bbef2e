"""How the variants of a campaign do, for people."""

from typing import TYPE_CHECKING

import typer

from cli.output import Format, Lines, as_dict

if TYPE_CHECKING:
    from beckon.trigger.v1.campaign_service_pb2 import CampaignReport


def show_report(report: "CampaignReport") -> None:
    """Write one line for each variant, and what is known of each goal."""
    goals = [count.goal for count in report.arms[0].goals]
    columns = ("VARIANT", "PEOPLE", "ENTRIES", "SENT", "WAITING", "STOPPED")
    lines = Lines(Format.TABLE, (*columns, *(goal.upper() for goal in goals)))
    lines.write(report.arms, _row, as_dict)
    if report.ratio_alarm:
        typer.secho(
            "the shares are not those of the weights by more than chance explains:"
            " something in how people get in is wrong",
            fg="red",
        )
    for verdict in report.verdicts:
        winner = f"{verdict.winner} wins" if verdict.winner else "no winner yet"
        typer.echo(f"{verdict.goal}: {winner} ({verdict.detail})")


def _row(arm: "CampaignReport.Arm") -> tuple[str, ...]:
    return (
        arm.variant,
        str(arm.profile_count),
        str(arm.entry_count),
        str(arm.sent_count),
        str(arm.waiting_count),
        ", ".join(f"{gate} {count}" for gate, count in sorted(arm.exits.items())) or "-",
        *(_reached(arm.profile_count, goal) for goal in arm.goals),
    )


def _reached(people: int, goal: "CampaignReport.GoalCount") -> str:
    if not people:
        return "-"
    rate = f"{goal.profile_count} ({goal.profile_count / people:.1%})"
    return f"{rate}, {goal.value:,.2f}" if goal.value else rate
