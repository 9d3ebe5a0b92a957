"""A plan for people: + creates, ~ changes with from → to, ! is breaking, … waits for what is breaking."""

from rich.console import Console
from rich.text import Text

from infra.deploy.changes import Change, Detail
from infra.deploy.plan import Plan

HEADINGS = {"topic": "Topics", "subject": "Subjects", "database": "Database", "table": "Tables"}
MARKS = {"create": ("+", "green"), "change": ("~", "yellow"), "breaking": ("!", "bold red"), "waiting": ("…", "red")}
SHOWN_CHARACTERS = 200


def print_plan(plan: Plan, console: Console) -> None:
    """Print every change under its kind, then what is not declared, then the sum."""
    for kind, heading in HEADINGS.items():
        changes = [change for change in plan.changes if change.kind == kind]
        if changes:
            console.print(Text(heading, style="bold"))
            for change in changes:
                _print_change(change, console)
    if plan.unmanaged:
        console.print(Text("Not declared, left alone", style="bold"))
        for what in plan.unmanaged:
            console.print(Text(f"  {what}", style="dim"))
    console.print(summary(plan))


def summary(plan: Plan) -> str:
    """The plan in a sentence."""
    if not plan.changes:
        return "No differences: the deployment is as declared."
    counts = {action: sum(change.action == action for change in plan.changes) for action in MARKS}
    waiting = f", {counts['waiting']} waiting for it" if counts["waiting"] else ""
    return f"Plan: {counts['create']} to create, {counts['change']} to change, {counts['breaking']} breaking{waiting}."


def _print_change(change: Change, console: Console) -> None:
    mark, style = MARKS[change.action]
    line = Text(f"  {mark} ", style=style).append(change.name, style="bold")
    if change.action == "create":
        console.print(line.append(f"  {_created(change)}", style="dim"), soft_wrap=True)
    else:
        console.print(line)
        for detail in change.details:
            console.print(Text(f"      {_changed(detail)}"), soft_wrap=True)
    if change.advice:
        console.print(Text(f"      {change.advice}", style=style), soft_wrap=True)


def _created(change: Change) -> str:
    if change.kind == "database":
        return "new"
    if change.kind == "table":
        return f"{len(change.details)} tables and views, filled from the start of the topic"
    return ", ".join(f"{detail.what} {_short(detail.declared)}" for detail in change.details)


def _changed(detail: Detail) -> str:
    return f"{detail.what}: {_short(detail.actual) or 'none'} → {_short(detail.declared) or 'none'}"


def _short(value: str) -> str:
    return value if len(value) <= SHOWN_CHARACTERS else f"{value[:SHOWN_CHARACTERS]}…"
