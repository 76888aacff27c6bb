"""A worker that dies, or loses its connection, while it sends a stage's outs to a bucket."""

import time
from collections.abc import Iterator

import pytest

from plugins.run_plan import RunPlan
from tests.builders import image_folder
from tests.e2e.bridge import small_project
from tests.e2e.buckets import BucketSite
from tests.proxy import Proxy, proxy_to
from tests.s3 import Server, server

__all__ = ["server"]  # a fixture
pytestmark = [pytest.mark.e2e, pytest.mark.long]
OBJECT = rb"PUT /[^/]+/dvc/files/md5/"
ENTRY = rb"PUT /[^/]+/runs/.*/fragments/"


@pytest.fixture(scope="module")
def first(server: Server, tmp_path_factory: pytest.TempPathFactory) -> tuple[BucketSite, RunPlan]:
    """Two stages, run undisturbed."""
    root = tmp_path_factory.mktemp("first")
    source = image_folder(root / "images", {"cat": 14, "dog": 7})
    project = small_project(root / "checkout", source, ("ingest", "analyze_bias"))
    site = BucketSite.of(project, root / "site", server)
    plan = site.scan("night-1")
    assert [site.run(plan, stage).ran for stage in ("ingest", "analyze_bias")] == [{"ingest"}, {"analyze_bias"}]
    return site, plan


@pytest.fixture
def proxy(server: Server) -> Iterator[Proxy]:
    with proxy_to(server.port) as proxy:
        yield proxy


def present(site: BucketSite, keys: set[str]) -> set[str]:
    return keys & set(site.server.keys(site.bucket))


@pytest.mark.parametrize("place", ["while it pushes", "between the push and its lock entry"])
def test_killed_it_is_made_up_for_by_a_retry_that_runs_nothing_else(
    first: tuple[BucketSite, RunPlan], proxy: Proxy, place: str, request: pytest.FixtureRequest
) -> None:
    site, done = first
    entry = site.entries(done)["analyze_bias"]
    keys, slug = site.objects(entry), f"night-{len(place)}"
    plan = site.again(done, slug, without="analyze_bias")
    assert present(site, keys) == set()
    is_pushing = place == "while it pushes"
    proxy.lose(OBJECT if is_pushing else ENTRY, "stall", spare=2 if is_pushing else 0)
    with site.seen_through(proxy.port).task(plan, "analyze_bias", worker="same") as kill:
        assert proxy.struck.wait(180)
        deadline = time.monotonic() + 60
        expected = 2 if is_pushing else len(keys)
        while len(present(site, keys)) < expected:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        kill()
    assert len(present(site, keys)) == expected
    assert "analyze_bias" not in site.entries(plan)

    task = site.run(plan, "analyze_bias", worker="same")
    assert task.ran == {"analyze_bias"}
    assert site.entries(plan)["analyze_bias"] == entry
    assert present(site, keys) == keys


def test_a_connection_that_is_cut_while_it_pushes_is_made_anew(first: tuple[BucketSite, RunPlan], proxy: Proxy) -> None:
    site, done = first
    entry = site.entries(done)["analyze_bias"]
    keys = site.objects(entry)
    plan = site.again(done, "night-cut", without="analyze_bias")
    proxy.lose(OBJECT, "reset", spare=1, times=3)
    assert site.seen_through(proxy.port).run(plan, "analyze_bias").ran == {"analyze_bias"}
    assert proxy.lost == 3
    assert site.entries(plan)["analyze_bias"] == entry
    assert present(site, keys) == keys
