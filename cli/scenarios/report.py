"""Says how scenarios went: to people, to programs, to build servers."""

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any
from xml.etree import ElementTree as ET

import typer

from cli.output import write_json
from cli.scenarios import times
from simulator.compare import Comparison
from simulator.play import Outcome
from simulator.records import Goal, Kept, Message
from simulator.scenario import ExpectedGoal, ExpectedMessage, ExpectedRefusal, Scenario

_WIDTH = 88
_TENTH = 0.1


@dataclass(frozen=True, slots=True)
class Result:
    """How one scenario went."""

    scenario: Scenario
    seconds: float
    outcome: Outcome | None = None
    """None: it could not be played."""
    error: str = ""
    place: str = field(default="")
    """Of the error."""

    @property
    def word(self) -> str:
        """`passed`, `failed` or `error`."""
        if self.outcome is None:
            return "error"
        return "passed" if self.outcome.comparison.same else "failed"

    @property
    def file(self) -> str:
        """Whence it is."""
        return self.scenario.place.rpartition(":")[0]


def lines_of(result: Result) -> list[str]:
    """Return what is to be said of a scenario that has not passed."""
    if result.outcome is None:
        return [f"  cannot be played: {result.error}", f"    {result.place}"]
    return list(_differences(result.scenario, result.outcome))


def show(results: Sequence[Result], *, seconds: float) -> None:
    """Write what failed, and how it went, for people."""
    failed = [one for one in results if one.word != "passed"]
    for one in failed:
        typer.echo()
        title = f"── {one.scenario.name} "
        typer.secho(title + "─" * max(0, _WIDTH - len(title)), fg="red", bold=True)
        typer.secho(one.scenario.place, dim=True)
        for line in lines_of(one):
            typer.secho(line, fg=_color(line))
    typer.echo()
    count = "1 scenario" if len(results) == 1 else f"{len(results)} scenarios"
    words = [f"{len(results) - len(failed)} passed"] if failed else []
    words += [f"{number} {word}" for word, number in _counts(failed).items()]
    told = f": {', '.join(words)}" if words else ""
    # Two digits, however little it is.
    took = f"{seconds:.2f}" if seconds < _TENTH else f"{seconds:.2g}"
    typer.secho(f"{count} in {took} s{told}", fg="red" if failed else "green", bold=True)


def show_json(results: Iterable[Result]) -> None:
    """Write one line for each scenario, for programs."""
    for one in results:
        write_json(_document(one))


def show_junit(results: Sequence[Result], *, seconds: float) -> None:
    """Write JUnit's XML, which build servers read."""
    failed = [one for one in results if one.word == "failed"]
    errors = [one for one in results if one.word == "error"]
    suite = ET.Element(
        "testsuite",
        name="beckon test",
        tests=str(len(results)),
        failures=str(len(failed)),
        errors=str(len(errors)),
        time=f"{seconds:.3f}",
    )
    for one in results:
        file, _, line = one.scenario.place.rpartition(":")
        case = ET.SubElement(
            suite,
            "testcase",
            classname=file,
            name=one.scenario.name,
            file=file,
            line=line,
            time=f"{one.seconds:.3f}",
        )
        if one.word != "passed":
            kind = "failure" if one.word == "failed" else "error"
            lines = lines_of(one)
            told = ET.SubElement(case, kind, message=lines[0].strip())
            told.text = "\n".join(lines)
    tree = ET.ElementTree(suite)
    ET.indent(tree)
    sys.stdout.write('<?xml version="1.0" encoding="utf-8"?>\n')
    tree.write(sys.stdout, encoding="unicode")
    sys.stdout.write("\n")


def _counts(failed: Iterable[Result]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for one in failed:
        word = "failed" if one.word == "failed" else "not played"
        counts[word] = counts.get(word, 0) + 1
    return counts


def _document(one: Result) -> dict[str, Any]:
    file, _, line = one.scenario.place.rpartition(":")
    return {
        "name": one.scenario.name,
        "file": file,
        "line": int(line),
        "outcome": one.word,
        "seconds": round(one.seconds, 6),
        "messages": [
            _message_document(message) for message in (one.outcome.messages if one.outcome else ())
        ],
        "goals": [_goal_document(goal) for goal in (one.outcome.goals if one.outcome else ())],
        "differences": [line.strip() for line in lines_of(one)] if one.word != "passed" else [],
    }


def _message_document(one: Message) -> dict[str, Any]:
    return {
        "time": one.time.isoformat(),
        "to": one.profile,
        "campaign": one.campaign,
        "channel": one.channel,
        "template": one.template,
        "variant": one.variant,
        "event": one.event,
    }


def _goal_document(one: Goal) -> dict[str, Any]:
    return {
        "time": one.time.isoformat(),
        "to": one.profile,
        "campaign": one.campaign,
        "goal": one.goal,
        "variant": one.variant,
        "event": one.event,
        "value": one.value,
    }


def _differences(scenario: Scenario, outcome: Outcome) -> Iterable[str]:
    found: Comparison = outcome.comparison
    for expected in found.missing:
        yield f"- expected   {_expected(scenario, expected)}"
        yield f"             {expected.place}"
        yield from _why(scenario, outcome, expected.campaign, expected.to, expected.event)
    for message in found.unexpected:
        yield f"+ unexpected {_message(scenario, message)}"
        yield from _trail(scenario, message.gates)
    for one in found.differing:
        yield f"- expected   {_expected(scenario, one.expected)}"
        yield f"+ but        {_message(scenario, one.actual)}"
        yield f"  other      {', '.join(one.fields)}    {one.expected.place}"
        if "digest" in one.fields:
            yield f"  digest     {one.actual.digest}"
    for refusal in found.not_refused:
        yield f"- expected   {_refusal(scenario, refusal)}"
        yield f"             {refusal.place}"
        yield from _why(scenario, outcome, refusal.campaign, refusal.to, refusal.event)
    for goal in found.not_reached:
        yield f"- expected   {_expected_goal(scenario, goal)}"
        yield f"             {goal.place}"
    for reached in found.reached:
        yield f"+ unexpected {_goal(scenario, reached)}"


def _why(
    scenario: Scenario, outcome: Outcome, campaign: str, profile: str | None, event: str | None
) -> Iterable[str]:
    """Say what became of what might have been it."""
    alike = [
        one
        for one in outcome.kept
        if one.campaign == campaign
        and profile in {None, one.profile}
        and event in {None, one.event}
    ]
    if not alike:
        whose = f" of {profile}" if profile else ""
        yield f"  nothing{whose} was refused or stopped by {campaign}"
    for one in alike:
        yield f"  {one.profile}, {one.event}: {_kept(scenario, one)}"
        yield from _trail(scenario, one.gates)


def _trail(scenario: Scenario, gates: Iterable[Any]) -> Iterable[str]:
    for gate in gates:
        mark = "✓" if gate.passed else "✗"
        yield f"    {mark} {_time(scenario, gate.time)}  {gate.name:<15} {gate.detail}"


def _expected(scenario: Scenario, one: ExpectedMessage) -> str:
    at = "any time" if one.at is None else _time(scenario, one.at)
    if one.before is not None:
        at = f"{at} to {_time(scenario, one.before)}"
    return _row(at, one.to, one.campaign, one.channel, one.template, one.variant, one.event) + (
        f"  digest {one.digest}" if one.digest is not None else ""
    )


def _message(scenario: Scenario, one: Message) -> str:
    return _row(
        _time(scenario, one.time),
        one.profile,
        one.campaign,
        one.channel,
        one.template,
        one.variant,
        one.event,
    )


def _row(
    at: str,
    to: str,
    campaign: str,
    channel: str | None,
    template: str | None,
    variant: str | None,
    event: str | None,
) -> str:
    parts = [at, f"to {to}", campaign, channel or "", f"template {template}" if template else ""]
    parts += [f"variant {variant}" if variant else "", f"for {event}" if event else ""]
    return "  ".join(filter(None, parts))


def _refusal(scenario: Scenario, one: ExpectedRefusal) -> str:
    at = "" if one.at is None else _time(scenario, one.at)
    parts = [at, f"to {one.to}" if one.to else "", one.campaign, f"refused by {one.gate}"]
    parts += [f"“{one.detail}”" if one.detail else "", f"for {one.event}" if one.event else ""]
    return "  ".join(filter(None, parts))


def _expected_goal(scenario: Scenario, one: ExpectedGoal) -> str:
    at = "any time" if one.at is None else _time(scenario, one.at)
    value = "" if one.value is None else f"worth {one.value:g}"
    return _goal_row(at, one.to or "anybody", one.campaign, one.goal, one.variant, one.event, value)


def _goal(scenario: Scenario, one: Goal) -> str:
    return _goal_row(
        _time(scenario, one.time),
        one.profile,
        one.campaign,
        one.goal,
        one.variant,
        one.event,
        f"worth {one.value:g}",
    )


def _goal_row(
    at: str,
    profile: str,
    campaign: str,
    goal: str,
    variant: str | None,
    event: str | None,
    value: str,
) -> str:
    parts = [at, f"{profile} reaches {goal}", campaign, f"variant {variant}" if variant else ""]
    return "  ".join(filter(None, [*parts, f"for {event}" if event else "", value]))


def _kept(scenario: Scenario, one: Kept) -> str:
    word = "stopped" if one.entered else "refused"
    return f"{word} {_time(scenario, one.time)} by {one.gate.name}: {one.gate.detail}"


def _time(scenario: Scenario, moment: Any) -> str:
    return times.shown(moment, scenario.zone)


def _color(line: str) -> str | None:
    return {"-": "red", "+": "green"}.get(line[:1])
