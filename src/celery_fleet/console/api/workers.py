"""Workers and pools, and draining them."""

from fastapi import APIRouter

from celery_fleet.survey.roster import ALIVE, SILENT

from .. import workers
from ..auth import Operator, Viewer
from ..errors import NotFound, may_answer
from ..fleet import FleetOf
from ..models.queues import PauseRequest, PauseResult
from ..models.workers import PoolInfo, PoolList, WorkerDetail, WorkerList
from .aliases import with_alias

router = APIRouter(tags=["workers"])

_V1 = "/api/v1"
_NO_WORKER = may_answer(404, "There is no such worker.")
_NO_POOL = may_answer(404, "There is no such pool.")


def list_workers(fleet: FleetOf, _: Viewer) -> WorkerList:
    """All workers that are known, and what each does."""
    found = workers.all_workers(fleet)
    active = sum(worker.state in (ALIVE, SILENT) for worker in found)
    return WorkerList(workers=found, count=len(found), active=active)


@router.get(_V1 + "/workers/{node}", responses=_NO_WORKER)
def get_worker(fleet: FleetOf, _: Viewer, node: str) -> WorkerDetail:
    """One worker (`pool@host`), and the tasks that it runs."""
    return workers.worker(fleet, node)


@router.post(_V1 + "/workers/{node}/drain", responses=_NO_WORKER)
def drain_worker(
    fleet: FleetOf, actor: Operator, node: str, asked: PauseRequest | None = None
) -> PauseResult:
    """It ends what it runs and takes nothing more, whatever restarts, until it is undrained."""
    return workers.drain(fleet, actor, _node(node), asked.reason if asked else "")


@router.post(_V1 + "/workers/{node}/undrain", responses=_NO_WORKER)
def undrain_worker(fleet: FleetOf, actor: Operator, node: str) -> PauseResult:
    """It takes tasks again."""
    return workers.undrain(fleet, actor, _node(node))


@router.get(_V1 + "/pools")
def list_pools(fleet: FleetOf, _: Viewer) -> PoolList:
    """The workers of one name on all hosts, together."""
    found = workers.pools(fleet)
    return PoolList(pools=found, count=len(found))


@router.get(_V1 + "/pools/{pool}", responses=_NO_POOL)
def get_pool(fleet: FleetOf, _: Viewer, pool: str) -> PoolInfo:
    """One pool."""
    return workers.pool(fleet, pool)


@router.post(_V1 + "/pools/{pool}/drain", responses=_NO_POOL)
def drain_pool(fleet: FleetOf, actor: Operator, pool: str, asked: PauseRequest | None = None) -> PauseResult:
    """Its workers on all hosts, also those that start later, take nothing more."""
    return workers.drain(fleet, actor, _pool(pool), asked.reason if asked else "")


@router.post(_V1 + "/pools/{pool}/undrain", responses=_NO_POOL)
def undrain_pool(fleet: FleetOf, actor: Operator, pool: str) -> PauseResult:
    """They take tasks again."""
    return workers.undrain(fleet, actor, _pool(pool))


def _node(name: str) -> str:
    if "@" not in name:
        raise NotFound(f"{name} is no worker: their names are pool@host; /api/v1/pools/{name} is its pool")
    return name


def _pool(name: str) -> str:
    if "@" in name:
        raise NotFound(f"{name} is no pool but a worker: use /api/v1/workers/{name}")
    return name


with_alias(router, "/workers", list_workers, "GET")
