"""Carry out a plan, and see that nothing is left to do that could be done."""

from collections.abc import Callable, Mapping

from infra.base.errors import SmartmeterError
from infra.base.wait import until
from infra.deploy.changes import Change
from infra.deploy.plan import Plan, make_plan
from infra.deploy.services import Services
from schemas.manifest import Dataset

SETTLES_WITHIN_S = 120.0


def apply_plan(
    plan: Plan,
    datasets: Mapping[str, Dataset],
    services: Services,
    started: Callable[[Change], None],
    warned: Callable[[str], None],
) -> None:
    """Perform every step of the plan in order; `started` is called before each change.

    May be stopped anywhere and run again: what is done is then no longer in the plan. What is breaking, and what waits
    for it, stays as it is. Raises SmartmeterError where a step fails, where differences remain that could be applied,
    and, with everything else applied, where a change of the plan could not be.
    """
    before_tables = [change for change in plan.applicable if change.kind != "table"]
    tables = [change for change in plan.applicable if change.kind == "table"]
    for change in before_tables:
        _perform(change, services, started)
    left = {change.name for change in plan.left}
    for sentence in services.warm(dataset for dataset in datasets.values() if dataset.subject not in left):
        warned(f"not asked for ahead of ClickHouse: {sentence}")
    for change in tables:
        _perform(change, services, started)
    if plan.applicable:
        _settle(datasets, services)
    if plan.left:
        raise SmartmeterError(f"{_applied(plan)}, but not {'; '.join(map(_why, plan.left))}. See `smartmeter plan`")


def _perform(change: Change, services: Services, started: Callable[[Change], None]) -> None:
    started(change)
    for step in change.steps:
        services.perform(step)


def _settle(datasets: Mapping[str, Dataset], services: Services) -> None:
    """Brokers tell of a new topic a little later than they create it."""
    differing: list[str] = []

    def all_applied() -> bool:
        again = make_plan(datasets, services.connection, services.read(datasets))
        differing[:] = [f"{change.kind} {change.name}" for change in again.applicable]
        return not differing

    try:
        until(all_applied, "the services to be as declared", SETTLES_WITHIN_S, every_s=0.5)
    except TimeoutError as error:
        raise SmartmeterError(
            f"applied, but these still differ: {', '.join(differing)}; see `smartmeter plan`"
        ) from error


def _applied(plan: Plan) -> str:
    count = len(plan.applicable)
    return f"applied {count} change{'s' if count != 1 else ''}" if count else "nothing was applied"


def _why(change: Change) -> str:
    why = "cannot be changed in place" if change.action == "breaking" else change.advice
    return f"{change.kind} {change.name}, which {why}"
