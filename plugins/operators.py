"""Airflow's side of the bridge: thin operators over plain functions, one a step of a run.

A task finds everything by the slug that Airflow's run_id gives: the run's plan and the lock entries of other tasks are
in the run store, code and experiments on the git remote, data and models in the DVC remote.
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from airflow.sdk import BaseHook, BaseOperator, BaseOperatorLink, Context
from airflow.sdk.configuration import conf
from airflow.sdk.exceptions import AirflowException, AirflowFailException
from botocore.exceptions import BotoCoreError, ClientError

from plugins import planning, publish
from plugins.airflow_settings import PAGES, aws_keys
from plugins.failures import Failure, explain
from plugins.lease import at_work
from plugins.lock import StaleError
from plugins.process import Command, CommandError
from plugins.run_plan import RunPlan, make_slug
from plugins.run_store import RunStore, open_store, s3_credentials
from plugins.settings import Settings
from plugins.stage_run import run_stage

# What a step may raise beside mistakes of ours, which keep their traceback.
EXPECTED = (CommandError, StaleError, ValueError, OSError, BotoCoreError, ClientError)


@dataclass(frozen=True)
class Run:
    """The run that a task belongs to, and how to reach what it shares."""

    context: Context
    slug: str
    store: RunStore
    settings: Settings
    env: dict[str, str]

    @property
    def plan(self) -> RunPlan:
        """The run's plan, once it has been scanned."""
        return RunPlan.load(self.store, self.slug)


class BridgeOperator(BaseOperator):
    """What all steps share: settings, credentials from Airflow's connections, and ending every process when killed.

    Args:
        aws_conn_id: connection with the keys of the object store, if it needs any.
        git_conn_id: connection whose login and password open the git remote, if it needs any.
    """

    def __init__(self, *, aws_conn_id: str | None = None, git_conn_id: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.aws_conn_id, self.git_conn_id = aws_conn_id, git_conn_id
        self._command: Command | None = None

    def execute(self, context: Context) -> Any:
        """Runs the step; what only a person can mend fails the task for good, anything else may be tried again."""
        try:
            settings = Settings.from_environment()
        except ValueError as error:
            raise self._failed(Failure(str(error), passing=False)) from None
        try:
            env = aws_keys(self.aws_conn_id) | self._git(settings.git)
            store = open_store(settings.runs, s3_credentials(env, settings.endpoint))
            run = Run(context, make_slug(str(context["run_id"])), store, settings, env)
            with at_work(store, run.slug, self.task_id, self.log.info):
                return self.step(run)
        except EXPECTED as error:
            raise self._failed(explain(error, settings)) from None

    def _failed(self, failure: Failure) -> AirflowException:
        """Logs the one line that says what to do; the exception says whether the task is tried again."""
        self.log.error("%s%s", failure.line, "; trying again may help" if failure.passing else "")
        return (AirflowException if failure.passing else AirflowFailException)(failure.line)

    def step(self, run: Run) -> dict[str, Any]:
        """What the operator does; its result becomes the task's XCom."""
        raise TypeError(f"{type(self).__name__} has no step for run {run.slug}")

    def on_kill(self) -> None:
        """Ends the running command with every process that it started."""
        if self._command is not None:
            self._command.kill()

    def started(self, command: Command) -> None:
        """Remembers the running command."""
        self._command = command

    def _git(self, url: str) -> dict[str, str]:
        """An HTTP header through git's environment: a password on a command line would be seen by all."""
        if self.git_conn_id is None or urlsplit(url).scheme not in {"http", "https"}:
            return {}
        connection = BaseHook.get_connection(self.git_conn_id)
        token = base64.b64encode(f"{connection.login}:{connection.password}".encode()).decode()
        return {
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": f"http.{url}.extraHeader",
            "GIT_CONFIG_VALUE_0": f"Authorization: Basic {token}",
            "GIT_TERMINAL_PROMPT": "0",
        }


class ScanOperator(BridgeOperator):
    """Settles the run: checks the parameters, lists the sources, writes the plan."""

    template_fields: Sequence[str] = ("revision", "changes")

    def __init__(self, *, revision: str, changes: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.revision, self.changes = revision, changes

    def step(self, run: Run) -> dict[str, Any]:
        """Scans once a run; a rerun uses what was found then."""
        created = run.context["dag_run"].run_after.isoformat()
        changes = {key: value for key, value in dict(self.changes or {}).items() if value is not None}
        plan = planning.scan(
            run.slug, self.revision, changes, created, run.store, run.settings, line=self.log.info, env=run.env
        )
        plan.save(run.store)
        return {"slug": run.slug, "commit": plan.commit, "started_from": plan.started_from}


class PageLink(BaseOperatorLink):
    """Links a stage's task to the page that it made."""

    name = "Report"

    def get_link(self, operator: BaseOperator, *, ti_key: Any) -> str:  # noqa: ARG002 (Airflow calls it so)
        """The page's address; the task's own process asks for it once the task is done."""
        page = getattr(operator, "page", None)
        return f"{conf.get('api', 'base_url', fallback='').rstrip('/')}{PAGES}/{page}" if page else ""


class DvcStageOperator(BridgeOperator):
    """Runs one stage of dvc.yaml, if it is stale, in a fresh checkout.

    Args:
        page: a page among its outs, to be linked from the UI.
    """

    template_fields: Sequence[str] = ("stage",)

    def __init__(self, *, stage: str, page: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.stage = stage
        self.page: str | None = None
        if page is not None:
            self.operator_extra_links = (PageLink(),)

    def step(self, run: Run) -> dict[str, Any]:
        """Says whether DVC ran the stage, how long the task took, and the plain figures of its metrics."""
        result = run_stage(
            run.plan,
            self.stage,
            run.store,
            run.settings,
            line=self.log.info,
            env=run.env,
            started=self.started,
        )
        self.log.info(
            "%s: %s; %.1f s, of which the stage itself took %.1f s",
            self.stage,
            "ran" if result.ran else "unchanged",
            result.seconds,
            result.stage_seconds,
        )
        self.page = result.page
        plain = {key: value for key, value in result.metrics.items() if not isinstance(value, dict | list)}
        seconds = {"seconds": round(result.seconds, 1), "stage_seconds": round(result.stage_seconds, 1)}
        return {"ran": result.ran, **seconds, "metrics": plain, "page": result.page}


class PublishOperator(BridgeOperator):
    """Publishes the run as an experiment on the git remote."""

    def step(self, run: Run) -> dict[str, Any]:
        """Returns the published commit."""
        plan = run.plan
        commit = publish.publish(plan, run.store, run.settings, line=self.log.info, env=run.env)
        return {"slug": run.slug, "commit": commit, "reference": publish.reference(plan)}


class PromoteOperator(BridgeOperator):
    """Tags a published run as promoted, and tells Airflow's assets about it."""

    template_fields: Sequence[str] = ("slug", "commit")

    def __init__(self, *, slug: str, commit: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.slug, self.commit = slug, commit

    def step(self, run: Run) -> dict[str, Any]:
        """Returns the tag."""
        plan = RunPlan.load(run.store, self.slug)
        tag = publish.promote(plan, self.commit, run.settings, line=self.log.info, env=run.env)
        result: dict[str, Any] = {"slug": self.slug, "commit": self.commit, "tag": tag}
        for asset in self.outlets:
            run.context["outlet_events"][asset].extra = result
        return result
