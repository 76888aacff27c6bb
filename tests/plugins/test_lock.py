from typing import Any

import pytest

from plugins.dvc_graph import Stage
from plugins.lock import Entry, Hash, Lock, StaleError, ancestors, check_fresh, dump, merge, parse

LOCK = """schema: '2.0'
stages:
  ingest:
    cmd: python -m pipeline ingest --out data/größe
    deps:
    - path: source.json
      hash: md5
      md5: 0a0a
      size: 3
    params:
      params.yaml:
        ingest:
          max_bad_fraction: 0.1
          source: builtin:digits
    outs:
    - path: data/größe
      hash: md5
      md5: 1b1b.dir
      size: 40
      nfiles: 2
  train:
    cmd: python -m pipeline train
    deps:
    - path: data/größe
      hash: md5
      md5: 1b1b.dir
      size: 40
      nfiles: 2
    outs:
    - path: models/m
      hash: md5
      md5: 2c2c.dir
"""


def stage(name: str, *upstream: str) -> Stage:
    empty: dict[str, Any] = {"deps": (), "outs": (), "params": (), "meta": {"queue": "cpu"}}
    return Stage(name=name, module=name, cmd=f"python -m pipeline {name}", upstream=upstream, **empty)


# ingest ── train ── evaluate, which also reads what ingest makes; other stands alone.
GRAPH = {
    "ingest": stage("ingest"),
    "other": stage("other"),
    "train": stage("train", "ingest"),
    "evaluate": stage("evaluate", "train", "ingest"),
}


def entry(deps: dict[str, str], outs: dict[str, str]) -> Entry:
    return {
        kind: [{"path": path, "hash": "md5", "md5": md5} for path, md5 in paths.items()]
        for kind, paths in (("deps", deps), ("outs", outs))
    }


FRESH: Lock = {
    "ingest": entry({"source.json": "s1"}, {"data": "d1"}),
    "train": entry({"data": "d1", "train.py": "p1"}, {"model": "m1"}),
    "evaluate": entry({"data": "d1", "model": "m1"}, {"metrics": "e1"}),
}
FRAGMENTS = {name: FRESH[name] for name in ("ingest", "train")}


def test_a_lock_taken_apart_and_put_together_is_the_lock() -> None:
    assert dump(parse(LOCK), ["ingest", "train"]) == LOCK
    assert list(parse(dump(parse(LOCK), ["train", "ingest", "unknown"]))) == ["train", "ingest"]
    assert parse("") == parse("\n") == {}
    assert parse(dump({}, [])) == {}


def test_what_this_run_made_replaces_what_it_started_from() -> None:
    old: Lock = {"ingest": entry({}, {"data": "d0"}), "train": entry({}, {"model": "m0"})}
    assert merge(old, {"ingest": FRESH["ingest"]}) == {"ingest": FRESH["ingest"], "train": old["train"]}
    assert old["ingest"] == entry({}, {"data": "d0"})


def test_all_that_a_stage_rests_on_in_the_order_of_the_graph() -> None:
    assert ancestors(GRAPH, "evaluate") == ["ingest", "train"]
    assert ancestors(GRAPH, "train") == ["ingest"]
    assert ancestors(GRAPH, "ingest") == []


def test_a_hash_is_known_by_its_algorithm() -> None:
    assert Hash.of({"path": "a", "md5": "1"}) == Hash.of({"path": "b", "hash": "md5", "md5": "1", "size": 9})
    assert Hash.of({"hash": "sha256", "sha256": "1", "md5": "2"}) == Hash("1")
    assert Hash.of({"md5": "1"}) != Hash.of({"md5": "2"})


def test_what_rests_on_this_run_s_results_is_fresh() -> None:
    check_fresh(GRAPH, "evaluate", FRESH, FRAGMENTS)
    check_fresh(GRAPH, "ingest", FRESH, {})
    # What stands in the lock of stages that it does not rest on says nothing about it.
    check_fresh(GRAPH, "train", FRESH | {"evaluate": entry({"model": "m0"}, {})}, {"ingest": FRESH["ingest"]})


@pytest.mark.parametrize(
    ("lock", "fragments", "message"),
    [
        (
            FRESH | {"evaluate": entry({"data": "d1", "model": "m0"}, {"metrics": "e0"})},
            FRAGMENTS,
            "evaluate: used an older model than train made in this run",
        ),
        (
            FRESH | {"train": entry({"data": "d1"}, {"model": "m2"})},
            FRAGMENTS,
            "evaluate: its upstream stage train was run again here; its own task must do that",
        ),
        (FRAGMENTS, FRAGMENTS, "evaluate: dvc.lock has no entry of it after the run"),
        (
            FRESH,
            {"ingest": FRESH["ingest"]},
            "evaluate: its upstream stage train has sent nothing back in this run",
        ),
    ],
)
def test_what_does_not_is_told_in_one_line(lock: Lock, fragments: Lock, message: str) -> None:
    with pytest.raises(StaleError) as caught:
        check_fresh(GRAPH, "evaluate", lock, fragments)
    assert str(caught.value) == message
