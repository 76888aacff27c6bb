"""What is written in several places says the same in all of them."""

import importlib
import inspect
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline import registry
from pipeline.__main__ import _parser
from plugins.dvc_graph import Stage, read_graph
from tests.closure import closure
from tests.tiny import ROOT

GRAPH = read_graph(ROOT)
PARAMS: dict[str, Any] = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
DVC: dict[str, Any] = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
MODULES = registry.names("pipeline.stages")
ARMS = ("train_baseline", "train_augmented", "train_completed")

every_stage = pytest.mark.parametrize("name", GRAPH)

# Modules that a stage imports and that change none of its results: listing them would rerun everything for nothing.
EXEMPT = {
    "pipeline/atomic.py": "how files come to their place, not what is in them",
    "pipeline/code.py": "names what is cached or resumed; by other code nothing of it is found",
    "pipeline/engine.py": "where and how many jobs run at a time",
    "pipeline/errors.py": "an exception",
    "pipeline/pace.py": "how long work took, told on the terminal and nowhere written",
    "pipeline/params.py": "checks params.yaml, whose values are listed under `params`",
    "pipeline/precision.py": "what the hardware can do, as which device it is",
    "pipeline/progress.py": "what the terminal shows",
    "pipeline/registry.py": "finds a plug-in by its name",
    "pipeline/torchvision_ops.py": "lets timm be imported",
    "pipeline/training/checkpoint.py": "a resumed training ends as an uninterrupted one: tested",
    "pipeline/training/compiling.py": "how fast a network trains; equal but for rounding, as on another device",
    "pipeline/training/device.py": "CPU or GPU, and how many",
}
# Packages whose files are plug-ins: which of them a stage uses is decided by params.yaml, not by imports.
PLUGINS = (
    "backbones",
    "corruptions",
    "feature_completion",
    "gate",
    "generators",
    "heads",
    "losses",
    "source_tasks",
    "sources",
    "strategies",
)


def code_deps(stage: Stage) -> set[Path]:
    """Our modules that a stage lists, folders as their files; a page's template or style is none."""
    found: set[Path] = set()
    for dep in stage.deps:
        path = ROOT / dep
        if dep.startswith("pipeline/"):
            assert path.exists(), f"{stage.name} lists {dep}, which is not there"
            found |= set(path.rglob("*.py")) if path.is_dir() else {path} if path.suffix == ".py" else set()
    return found


def is_docstring(path: Path) -> bool:
    """Whether a package's `__init__.py` holds nothing but its docstring."""
    return (
        path.name == "__init__.py"
        and path.read_text(encoding="utf-8").strip().count('"""') == 2
        and not (path.read_text(encoding="utf-8").partition('"""')[2].partition('"""')[2].strip())
    )


def is_plugin(path: Path) -> bool:
    return path.parent.name in PLUGINS and path.name != "__init__.py" and not path.name.startswith("_")


def is_private(path: Path) -> bool:
    return path.parent.name in PLUGINS and path.name.startswith("_") and path.name != "__init__.py"


def parts_of_plugins(stage: Stage) -> set[Path]:
    """Private files of the plug-ins that params.yaml may choose for a stage: `deps` cannot follow that choice."""
    folders = {path.parent for path in code_deps(stage) if is_plugin(path)}
    plugins = {path for folder in folders for path in folder.glob("*.py") if is_plugin(path)}
    return {part for plugin in plugins for part in closure(plugin) if is_private(part)}


def relative(paths: set[Path]) -> list[str]:
    return sorted(path.relative_to(ROOT).as_posix() for path in paths)


# ------------------------------------------------------------ one name in four places


def test_every_stage_s_module_exists_and_every_module_is_used() -> None:
    assert {stage.module for stage in GRAPH.values()} == set(MODULES)


def test_a_stage_bears_its_module_s_name_and_only_the_arms_share_one() -> None:
    assert {name for name, stage in GRAPH.items() if stage.module == "train_classifier"} == set(ARMS)
    assert all(stage.module == name for name, stage in GRAPH.items() if name not in ARMS)


def test_every_module_has_a_section_of_params_yaml_and_every_section_a_module() -> None:
    assert set(PARAMS) == set(MODULES)
    for module in registry.modules("pipeline.stages").values():
        assert inspect.signature(module.run).parameters["params"].annotation in (module.Params, "Params")


def test_airflow_has_a_task_of_that_name_for_every_stage(tmp_path: Path) -> None:
    ask = """import json
from dags.complete_dataset import tasks
print(json.dumps({name: task.task_id for name, task in tasks.items()}))
"""
    env = os.environ | {"AIRFLOW_HOME": str(tmp_path), "AIRFLOW__CORE__LOAD_EXAMPLES": "False", "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", ask], cwd=ROOT, env=env, check=True, capture_output=True, text=True)
    assert json.loads(done.stdout.splitlines()[-1]) == {name: name for name in GRAPH}


@every_stage
def test_a_stage_depends_on_its_section(name: str) -> None:
    assert GRAPH[name].module in GRAPH[name].params


def test_the_baseline_is_trained_under_the_loss_of_the_other_arms_too() -> None:
    losses = ["cross_entropy", "balanced_softmax", "${train_classifier.loss}"]
    assert shlex.split(DVC["train_baseline"]["cmd"].partition("--losses")[2].partition("--")[0]) == losses


def test_the_arms_have_identical_params() -> None:
    assert len({GRAPH[name].params for name in ARMS}) == 1


# ------------------------------------------------------------ deps


@every_stage
def test_deps_cover_what_the_stage_imports(name: str) -> None:
    stage = GRAPH[name]
    imported = closure(ROOT / "pipeline" / "stages" / f"{stage.module}.py")
    needed = {path for path in imported if not is_docstring(path) and not is_plugin(path)}
    needed = (needed | parts_of_plugins(stage)) - {ROOT / path for path in EXEMPT}
    assert relative(needed - code_deps(stage)) == []


@every_stage
def test_deps_name_no_module_that_the_stage_does_not_import(name: str) -> None:
    stage = GRAPH[name]
    listed = code_deps(stage)
    uses = [ROOT / "pipeline" / "stages" / f"{stage.module}.py", *(path for path in listed if is_plugin(path))]
    imported = {path for file in uses for path in closure(file)}
    assert relative(listed - imported - parts_of_plugins(stage)) == []


@every_stage
def test_a_stage_that_uses_plug_ins_lists_those_it_may_use(name: str) -> None:
    stage = GRAPH[name]
    imported = closure(ROOT / "pipeline" / "stages" / f"{stage.module}.py")
    for kind in PLUGINS:
        package = ROOT / "pipeline" / kind
        if package / "__init__.py" in imported:
            assert [path for path in code_deps(stage) if path.parent == package and is_plugin(path)], kind
        else:
            assert not [path for path in code_deps(stage) if path.parent == package], kind


def test_exempt_modules_exist() -> None:
    assert all((ROOT / path).is_file() for path in EXEMPT)


def test_the_test_images_reach_no_stage_that_trains_or_draws() -> None:
    def sees(name: str, path: str) -> bool:
        deps = GRAPH[name].deps
        return any(dep == path or path.startswith(f"{dep}/") or dep.startswith(f"{path}/") for dep in deps)

    readers = {name for name in GRAPH if sees(name, "data/real/test")}
    assert {"analyze_bias", "evaluate"} <= readers <= {"analyze_bias", "evaluate", "report"}
    for name in GRAPH:
        if name not in readers and name != "ingest":
            assert "data/real/test" not in GRAPH[name].cmd
    # what analyze_bias hands on is the plan, which is made of the training images alone (see its test)
    handed_on = set(GRAPH["analyze_bias"].outs) & {
        dep for name in ("augment", "synthesize") for dep in GRAPH[name].deps
    }
    assert handed_on == {"results/analyze_bias/plan.json"}


# ------------------------------------------------------------ commands


def arguments(stage: Stage) -> list[str]:
    return shlex.split(stage.cmd)[4:]


@every_stage
def test_the_command_s_options_are_those_of_the_module(name: str) -> None:
    stage = GRAPH[name]
    run = importlib.import_module(f"pipeline.stages.{stage.module}").run
    parsed = vars(_parser(run, stage.module).parse_args(arguments(stage)))
    named = {word[2:].replace("-", "_") for word in arguments(stage) if word.startswith("--")}
    assert named <= set(parsed)


@every_stage
def test_every_path_in_the_command_is_declared_and_every_declared_path_is_in_the_command(name: str) -> None:
    stage = GRAPH[name]
    run = importlib.import_module(f"pipeline.stages.{stage.module}").run
    parsed = vars(_parser(run, stage.module).parse_args(arguments(stage)))
    given = {"params_file"}
    paths: set[str] = set()
    for option, value in parsed.items():
        values = value if isinstance(value, tuple) else (value,)
        if option not in given:
            paths |= {item.as_posix() for item in values if isinstance(item, Path)}
    files = {entry.partition(":")[0] for entry in stage.params if ":" in entry}
    declared = {dep for dep in stage.deps if not dep.startswith("pipeline/")} | set(stage.outs) | files
    assert paths == declared


@every_stage
def test_outs_lie_where_their_stage_s_name_says(name: str) -> None:
    for out in GRAPH[name].outs:
        if out.startswith("results/"):
            assert out == f"results/{name}" or out.startswith(f"results/{name}/")
        else:
            assert out.startswith(("data/", "models/"))


@every_stage
def test_a_stage_says_where_it_runs_and_dvc_keeps_its_outs(name: str) -> None:
    assert set(DVC[name]["meta"]) >= {"queue"}
    assert DVC[name]["meta"]["queue"] in ("cpu", "gpu")
    assert "'cache': False" not in str(DVC[name])


def test_what_trains_or_infers_asks_for_a_gpu() -> None:
    for name, stage in GRAPH.items():
        uses_torch = ROOT / "pipeline/training/device.py" in closure(ROOT / f"pipeline/stages/{stage.module}.py")
        assert (stage.queue == "gpu") == uses_torch, name
