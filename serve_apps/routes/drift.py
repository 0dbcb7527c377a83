"""Drift: where an agent's versions no longer met the market they were judged on."""

from fastapi import APIRouter

from actors.drift_watch import MODEL_DRIFT
from desk.runs import Alert
from desk.store import kinds
from serve_apps import lookups
from serve_apps.context import Ctx
from serve_apps.paging import Paged, page_of
from serve_apps.parameters import AgentId
from serve_apps.schemas import AlertView, Page
from serve_apps.views.ops import alert_view

router = APIRouter(tags=["versions"])


@router.get("/agents/{agent_id}/drift-alerts")
def list_drift_alerts(ctx: Ctx, agent_id: AgentId, page: Paged) -> Page[AlertView]:
    """List the drift alerts of an agent's runs, newest first; an alert's id ends with run and version."""
    lookups.agent(ctx.store, agent_id)
    ours = {doc.key for doc in lookups.runs(ctx.store) if doc.value.agent_id == agent_id}

    def keep(alert: Alert) -> bool:
        code, _, about = alert.alert_id.partition(":")
        return code == MODEL_DRIFT and about.partition(":")[0] in ours

    docs, following = page_of(ctx.store, kinds.ALERTS, page, keep=keep)
    return Page(items=[alert_view(doc) for doc in docs], next_cursor=following)
