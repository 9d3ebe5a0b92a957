"""Carry out a plan on a deployment, and see that nothing is left to do."""

from collections.abc import Callable, Mapping

from infra.base.errors import SmartmeterError
from infra.base.wait import until
from infra.deploy.changes import Change
from infra.deploy.deployment import Deployment
from infra.deploy.plan import Plan, make_plan
from schemas.manifest import Dataset

SETTLES_WITHIN_S = 120.0


def apply_plan(
    plan: Plan,
    datasets: Mapping[str, Dataset],
    deployment: Deployment,
    started: Callable[[Change], None],
    warned: Callable[[str], None],
) -> None:
    """Perform every step of the plan in order; `started` is called before each change.

    May be stopped anywhere and run again: what is done is then no longer in the plan. Raises SmartmeterError where the
    plan has a breaking change, and then changes nothing, and where a step fails or differences remain.
    """
    if plan.breaking:
        named = ", ".join(f"{change.kind} {change.name}" for change in plan.breaking)
        raise SmartmeterError(
            f"nothing was applied, as these cannot be changed in place: {named}; see `smartmeter plan`"
        )
    for change in plan.changes:
        if change.kind != "table":
            _perform(change, deployment, started)
    for sentence in deployment.warm(datasets.values()):
        warned(f"not asked for ahead of ClickHouse: {sentence}")
    for change in plan.changes:
        if change.kind == "table":
            _perform(change, deployment, started)
    if plan.changes:
        _settle(datasets, deployment)


def _perform(change: Change, deployment: Deployment, started: Callable[[Change], None]) -> None:
    started(change)
    for step in change.steps:
        deployment.perform(step)


def _settle(datasets: Mapping[str, Dataset], deployment: Deployment) -> None:
    """Brokers tell of a new topic a little later than they create it."""
    left: list[str] = []

    def none_left() -> bool:
        again = make_plan(datasets, deployment.connection, deployment.read(datasets))
        left[:] = [f"{change.kind} {change.name}" for change in again.changes]
        return not left

    try:
        until(none_left, "the deployment to be as declared", SETTLES_WITHIN_S, every_s=0.5)
    except TimeoutError as error:
        raise SmartmeterError(f"applied, but these still differ: {', '.join(left)}; see `smartmeter plan`") from error
