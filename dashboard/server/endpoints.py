"""Which address is which view."""

from dashboard.server.desk import View
from dashboard.server.views import (
    funnel,
    health,
    overview,
    pareto,
    problems,
    rollouts,
    series,
)

VIEWS: dict[str, View] = {
    "values": View(answer=rollouts.choices),
    "overview": View(answer=overview.overview, is_timeless=False),
    "metrics": View(compare=series.metrics),
    "events": View(answer=series.events),
    "funnel": View(answer=funnel.funnel, is_timeless=False),
    "pareto": View(compare=pareto.pareto),
    "rollouts": View(answer=rollouts.rollouts),
    "facets": View(answer=rollouts.facets),
    "rollout": View(answer=rollouts.rollout),
    "rollout/text": View(answer=rollouts.text),
    "rollout/tokens": View(answer=rollouts.tokens),
    "problems": View(answer=problems.problems),
    "problem": View(answer=problems.problem),
    "health": View(answer=health.health, is_timeless=False),
}
