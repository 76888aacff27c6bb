"""The bridge on a real object store, Ceph: source, DVC remote and run store in buckets; workers that share no disk."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import numpy as np
import pytest
import yaml

from pipeline import sources
from pipeline.errors import UserError
from pipeline.images import encode_png
from plugins import lock as locks
from plugins.failures import explain
from plugins.run_plan import RunPlan
from plugins.run_store import AlreadyWrittenError, RunStore, open_store
from tests.builders import digests, image_folder, save
from tests.ceph import ceph
from tests.e2e.bridge import Night, Watched, run_night, small_project
from tests.e2e.buckets import BucketSite
from tests.e2e.conftest import Project
from tests.proxy import Proxy, proxy_to
from tests.s3 import Server

__all__ = ["ceph"]  # a fixture
pytestmark = [pytest.mark.slow, pytest.mark.ceph]
FEW = ("ingest", "ingest_source", "analyze_bias", "augment")
WRITERS, ROUNDS = 8, 25


# ------------------------------------------------------------ keys that are written once


@pytest.fixture
def stores(ceph: Server) -> list[RunStore]:
    """One store as eight workers see it, each through a client of its own."""
    bucket = ceph.new_bucket()
    stores = [open_store(f"s3://{bucket}/runs", ceph.credentials) for _ in range(WRITERS)]
    assert [store.get("connect") for store in stores] == [None] * WRITERS
    return stores


def race(stores: list[RunStore], key: str, contents: list[bytes]) -> list[bool]:
    """All put one key at the same moment; says who was let."""
    start = Barrier(len(stores))

    def put(store: RunStore, content: bytes) -> bool:
        start.wait()
        try:
            store.put(key, content)
        except AlreadyWrittenError:
            return False
        return True

    with ThreadPoolExecutor(len(stores)) as pool:
        return list(pool.map(put, stores, contents))


def test_of_eight_writers_at_once_exactly_one_wins_every_time(stores: list[RunStore]) -> None:
    winners = []
    for number in range(ROUNDS):
        contents = [b"%d of %d" % (writer, number) * 1000 for writer in range(WRITERS)]
        let = race(stores, f"r/{number}", contents)
        assert sum(let) == 1
        winners.append(let.index(True))
        assert stores[0].get(f"r/{number}") == contents[winners[-1]]
    assert len(set(winners)) > 1, "they did not race"


def test_eight_writers_of_the_same_all_succeed(stores: list[RunStore]) -> None:
    for number in range(ROUNDS):
        assert race(stores, f"r/{number}", [b"same"] * WRITERS) == [True] * WRITERS


# ------------------------------------------------------------ runs


@pytest.fixture(scope="module")
def images(ceph: Server, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A source in a bucket."""
    bucket = ceph.new_bucket()
    ceph.upload(image_folder(tmp_path_factory.mktemp("images"), {"cat": 14, "dog": 7}), bucket, "in/")
    return f"s3://{bucket}/in"


@pytest.fixture(scope="module")
def first(ceph: Server, images: str, tmp_path_factory: pytest.TempPathFactory) -> Night:
    root = tmp_path_factory.mktemp("first")
    project = small_project(root / "checkout", images, FEW)
    return run_night(BucketSite.of(project, root / "site", ceph), "night-1")


def test_nights_on_buckets_alone(first: Night, ceph: Server, images: str, tmp_path: Path) -> None:
    site = first.site
    assert isinstance(site, BucketSite)
    assert {name: task.ran for name, task in first.tasks.items()} == {name: {name} for name in FEW}
    assert {path.name for path in site.root.iterdir()} == {"project", "origin.git", "workers"}
    assert list((site.root / "workers").iterdir()) == []  # not even what a worker has kept for itself is needed

    watched = Watched(site.store, site)
    second = site.scan("night-2")
    assert second.started_from == "night-1"
    assert [name for name, task in site.run_all(second, watched).items() if task.ran] == []
    assert watched.on_disk == []
    assert site.entries(second) == site.entries(first.plan)

    bucket, _, prefix = images.removeprefix("s3://").partition("/")
    ceph.upload(image_folder(tmp_path / "more", {"dog": 4}, start=100), bucket, f"{prefix}/")
    third = site.scan("night-3")
    assert [batch["files"] for batch in yaml.safe_load(third.source_json)["ingest"]["batches"]] == [21, 4]
    ran = {name for name, task in site.run_all(third).items() if task.ran}
    assert ran == set(FEW) - {"ingest_source"}

    clone = site.clone("user")
    clone.run("dvc", "exp", "pull", "origin", "night-1")
    clone.run("dvc", "exp", "apply", "night-1")
    assert clone.outs() == {name: _hashes(entry) for name, entry in site.entries(first.plan).items()}
    assert clone.repro(**site.env("user")) == set()


def test_all_stages_end_as_they_do_without_a_bucket(
    finished: Project, ceph: Server, tmp_path_factory: pytest.TempPathFactory
) -> None:
    night = run_night(BucketSite.of(finished, tmp_path_factory.mktemp("whole"), ceph), "night-1")
    assert {stage: task.ran for stage, task in night.tasks.items()} == {stage: {stage} for stage in night.tasks}
    lock = locks.parse((finished.root / "dvc.lock").read_text(encoding="utf-8"))
    assert night.site.entries(night.plan) == lock
    clone = night.site.clone("user")
    for command in ("dvc exp pull origin night-1", "dvc exp apply night-1"):
        clone.run(*command.split())
    for out in ("data/synthetic", "models/completed", "results/report"):
        assert digests(clone.root / out) == digests(finished.root / out) != {}


def test_a_wrong_key_is_told_in_one_line_wherever_it_is_noticed(first: Night, ceph: Server) -> None:
    assert isinstance(first.site, BucketSite)
    with_key, site = first.site, first.site.seen_through(ceph.port, secret="guessed")
    settings = site.settings("augment")
    for act in (
        lambda: site.scan("night-9"),  # the run store
        lambda: site.run(first.plan, "augment", with_key.store),  # the DVC remote
    ):
        with pytest.raises(Exception, match=r"SignatureDoesNotMatch|Forbidden|403") as caught:
            act()
        failure = explain(caught.value, settings)
        assert failure.line.startswith("the object store refuses the key: correct the connection that ")
        assert not failure.passing
        assert "\n" not in failure.line
        assert "guessed" not in failure.line
        assert ceph.secret not in failure.line


def test_an_object_that_is_replaced_while_the_source_is_read_is_told(
    ceph: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in ceph.env.items():
        monkeypatch.setenv(name, value)
    bucket = ceph.new_bucket()
    ceph.upload(image_folder(tmp_path, {"cat": 1, "dog": 1}), bucket, "in/")
    first, *others = sources.files(f"s3://{bucket}/in")
    ceph.client().put_object(Bucket=bucket, Key="in/cat/000.png", Body=b"another")
    with pytest.raises(UserError, match=r"in/cat/000\.png was changed or deleted while it was read; run it again$"):
        first.read()
    assert others[0].read() == (tmp_path / "dog" / "000.png").read_bytes()


# ------------------------------------------------------------ faults in the middle of a push


@pytest.fixture(scope="module")
def big(ceph: Server, tmp_path_factory: pytest.TempPathFactory) -> tuple[BucketSite, RunPlan]:
    """A stage whose training images are a shard of some 120 MB, run undisturbed: it is sent in parts of 50 MiB."""
    root = tmp_path_factory.mktemp("big")
    for number in range(700):
        noise = np.random.default_rng(number).integers(0, 256, (256, 256, 3), dtype=np.uint8)
        save(root / "images" / ("cat" if number % 2 else "dog") / f"{number}.png", encode_png(noise))
    project = small_project(root / "checkout", root / "images", ("ingest",))
    project.change({"ingest": {"image_size": 256, "val_fraction": 0.05, "test_fraction": 0.05}})
    project.commit()
    site = BucketSite.of(project, root / "site", ceph)
    plan = site.scan("night-1")
    assert site.run(plan, "ingest").ran == {"ingest"}
    return site, plan


@pytest.fixture
def proxy(ceph: Server) -> Iterator[Proxy]:
    with proxy_to(ceph.port) as proxy:
        yield proxy


PART = rb"PUT /.*/dvc/files/md5/.*partNumber="


def test_killed_in_the_middle_of_a_big_object_a_retry_ends_the_same(
    big: tuple[BucketSite, RunPlan], proxy: Proxy
) -> None:
    site, done = big
    entry = site.entries(done)["ingest"]
    keys = site.objects(entry)
    plan = site.again(done, "night-2", without="ingest")
    proxy.lose(PART, "stall", spare=1)
    with site.seen_through(proxy.port).task(plan, "ingest", worker="same") as kill:
        assert proxy.struck.wait(300)
        kill()
    assert present(site, keys) < keys  # the object that was under way is not there by half
    assert site.entries(plan) == {}
    assert site.run(plan, "ingest", worker="same").ran == {"ingest"}
    assert site.entries(plan)["ingest"] == entry
    assert present(site, keys) == keys


@pytest.mark.parametrize("fault", ["stall", "reset"])
def test_a_connection_that_is_lost_in_the_middle_of_a_push_is_made_anew(
    big: tuple[BucketSite, RunPlan], proxy: Proxy, fault: str
) -> None:
    site, done = big
    entry = site.entries(done)["ingest"]
    plan = site.again(done, f"night-{fault}", without="ingest")
    proxy.lose(PART, fault, spare=1, times=1)
    assert site.seen_through(proxy.port).run(plan, "ingest").ran == {"ingest"}
    assert proxy.lost == 1
    assert site.entries(plan)["ingest"] == entry
    assert present(site, site.objects(entry)) == site.objects(entry)


def present(site: BucketSite, keys: set[str]) -> set[str]:
    return keys & set(site.server.keys(site.bucket))


def _hashes(entry: locks.Entry) -> dict[str, str]:
    return {out["path"]: out["md5"] for out in entry["outs"]}
