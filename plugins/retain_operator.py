"""Airflow's side of retention."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from plugins.kept import Policy
from plugins.operators import BridgeOperator, Run
from plugins.retention import Retention


class RetainOperator(BridgeOperator):
    """Removes old runs and what only they have used, or says what that would be.

    Args:
        runs_of: the DAG that makes the runs; while one of its runs is active nothing is removed.
        keep: how many published runs are kept beside the promoted ones.
        min_age_days: what is younger is spared.
        remove: removes it only where this is True.
    """

    template_fields: Sequence[str] = ("keep", "min_age_days", "remove")

    def __init__(self, *, runs_of: str, keep: Any, min_age_days: Any, remove: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.runs_of, self.keep, self.min_age_days, self.remove = runs_of, keep, min_age_days, remove

    def step(self, run: Run) -> dict[str, Any]:
        """Returns what was removed, or would be."""
        retention = Retention(
            slug=run.slug,
            policy=Policy(keep=int(self.keep), min_age=timedelta(days=float(self.min_age_days))),
            store=run.store,
            settings=run.settings,
            active=lambda: int(run.context["ti"].get_dr_count(dag_id=self.runs_of, states=["queued", "running"])),
            line=self.log.info,
            env=run.env,
            started=self.started,
        )
        return retention.remove() if self.remove is True else retention.look()
