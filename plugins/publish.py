"""Makes a run findable for ever: one commit with its lock, parameters and sources, as an experiment on the git remote.

The data and models are in the DVC remote already. `dvc exp list`, `dvc exp pull` and `dvc exp apply` know such a
reference; no branch moves and nothing has to be merged.
"""

import os
from collections.abc import Mapping

from plugins import lock as locks
from plugins.checkout import update_mirror
from plugins.process import CommandError, run
from plugins.references import AUTHOR, EXPERIMENTS, published
from plugins.run_plan import RunPlan, load_fragments
from plugins.run_store import RunStore
from plugins.settings import Settings
from plugins.stage_run import Line, Workspace, workspace

PUBLISHED_FILES = ("dvc.lock", "looks.json", "params.yaml", "source.json")


def reference(plan: RunPlan) -> str:
    """The name that DVC gives an experiment: the code commit split after two digits, then the experiment's name."""
    return f"{EXPERIMENTS}/{plan.commit[:2]}/{plan.commit[2:]}/{plan.slug}"


def publish(
    plan: RunPlan, store: RunStore, settings: Settings, *, line: Line, env: Mapping[str, str] | None = None
) -> str:
    """Commits the run's lock on its code commit and pushes it; returns the commit's id. Twice gives the same commit.

    Raises:
        StaleError: a stage has sent nothing back.
        CommandError: git refused.
    """
    dates = {f"GIT_{role}_DATE": plan.created for role in ("AUTHOR", "COMMITTER")}
    names = {f"GIT_{role}_{key}": value for role in ("AUTHOR", "COMMITTER") for key, value in AUTHOR.items()}
    with workspace(plan, "publish", settings, {**(env or {}), **dates, **names}) as space:
        space.overlay(plan, {})
        fragments = load_fragments(store, plan.slug, space.graph)
        missing = [name for name in space.graph if name not in fragments]
        if missing:
            raise locks.StaleError(f"publish: {', '.join(missing)} sent nothing back in this run")
        space.overlay(plan, fragments)
        return _push(space, plan, settings, line)


def promote(plan: RunPlan, commit: str, settings: Settings, *, line: Line, env: Mapping[str, str] | None = None) -> str:
    """Tags a published run as promoted on the git remote; returns the tag's name.

    Raises:
        ValueError: the run is not published, or has been removed since.
        CommandError: git refused.
    """
    tag = f"promoted/{plan.slug}"
    variables = {**os.environ, **(env or {})}
    mirror = update_mirror(settings.git, settings.mirrors, env)
    if plan.slug not in {ref.slug for ref in published(mirror)}:
        raise ValueError(f"promote: run {plan.slug} is not published (any more); run it again")
    run(["git", "push", "--quiet", settings.git, f"{commit}:refs/tags/{tag}"], mirror, line, variables)
    line(f"promote: {tag} is {commit}")
    return tag


def _push(space: Workspace, plan: RunPlan, settings: Settings, line: Line) -> str:
    ref = reference(plan)
    space.run(["git", "add", "--force", *(name for name in PUBLISHED_FILES if (space.folder / name).exists())], line)
    space.run(
        [
            "git",
            "-c",
            "commit.gpgsign=false",
            "commit",
            "--quiet",
            "--allow-empty",
            "--message",
            f"counterweight: run {plan.slug}",
        ],
        line,
    )
    commit = space.run(["git", "rev-parse", "HEAD"], lambda _: None)[-1]
    try:
        space.run(["git", "push", "--quiet", settings.git, f"{commit}:{ref}"], line)
    except CommandError:
        held = space.run(["git", "ls-remote", settings.git, ref], lambda _: None)
        if not held or held[-1].split()[0] != commit:
            raise
    line(f"publish: {ref} is {commit}")
    return commit
