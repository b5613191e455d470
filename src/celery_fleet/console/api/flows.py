"""`/api/v1/flows`: tasks that depend on each other."""

from fastapi import APIRouter, Response

from celery_fleet.console.auth import Operator
from celery_fleet.console.fleet import FleetOf
from celery_fleet.console.models.tasks import Chain, FlowSubmitted, Group
from celery_fleet.console.tasks import flows

from .tasks import REPLAYED, IdempotencyKey

router = APIRouter(tags=["flows"], prefix="/api/v1/flows")


@router.post("/chain", summary="Submit tasks that run one after the other", status_code=202)
def submit_chain(
    fleet: FleetOf, actor: Operator, flow: Chain, response: Response, idempotency_key: IdempotencyKey = ""
) -> FlowSubmitted:
    """Each task gets the result of the one before it as its first argument, unless it is `immutable`.

    It runs when the one before it has succeeded; when one fails, those after it do not run.
    """
    return _told(flows.chain(fleet, actor, flow, idempotency_key), response)


@router.post("/group", summary="Submit tasks that run side by side", status_code=202)
def submit_group(
    fleet: FleetOf, actor: Operator, flow: Group, response: Response, idempotency_key: IdempotencyKey = ""
) -> FlowSubmitted:
    """`then` runs when all of them have succeeded; its first argument is the list of their results."""
    return _told(flows.group(fleet, actor, flow, idempotency_key), response)


def _told(answer: FlowSubmitted, response: Response) -> FlowSubmitted:
    if answer.replayed:
        response.headers[REPLAYED] = "true"
    return answer
