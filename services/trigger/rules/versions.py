"""Which version of a campaign judges a passage?"""

from services.trigger.model import Enrollment, EnrollmentState, InFlight, Past, Plan


def after_change(past: Past, version: int, in_flight: InFlight) -> tuple[int, int]:
    """Return the migrate and the exit version of a campaign after a change to `version`."""
    match in_flight:
        case InFlight.MIGRATE:
            return version, past.exit_version
        case InFlight.FINISH:
            return past.migrate_version, past.exit_version
        case InFlight.EXIT:
            return past.migrate_version, version


def version_after(past: Past, version: int) -> int | None:
    """Return the version by which goes on who went by `version`; None: a later one sent her out.

    It is what comes of walking from change to change: of those that moved everybody only the
    latest matters, and nobody who was sent out comes back.
    """
    return None if version < past.exit_version else max(version, past.migrate_version)


def sent_out(plan: Plan, passage: Enrollment) -> bool:
    """Say whether a change has ended a passage that waits; what was released goes out."""
    waits = passage.state is EnrollmentState.WAITING
    return waits and version_after(plan.past, passage.campaign_version) is None


def plan_for(plan: Plan, passage: Enrollment) -> Plan:
    """Return the version of a campaign that judges a passage, given the newest.

    It is the newest for what was released before a change and by a version that is kept no more.
    """
    version = version_after(plan.past, passage.campaign_version)
    if version is None:
        version = passage.campaign_version
    return plan.past.plans.get(version, plan) if version < plan.version else plan
