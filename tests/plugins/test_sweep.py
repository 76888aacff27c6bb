"""What of a DVC remote is in use, with objects whose checksums are known beforehand."""

import os
import shutil
from datetime import timedelta

import pytest
import yaml

from plugins import lock as locks
from plugins.lease import utc_now
from plugins.process import CommandError
from plugins.run_plan import save_fragment
from tests.plugins.retained import Remains, data_of, md5, model_of, nights, site, whole

__all__ = ["nights", "site"]  # fixtures
DAMAGES = {"missing": None, "garbage": b"\0\1", "cut": b"[", "an empty folder's": b"[]"}


@pytest.mark.parametrize(
    ("slug", "damage"),
    [
        *(("newest", "missing"), ("newest", "an empty folder's"), ("promoted", "missing"), ("promoted", "garbage")),
        *(("making", "missing"), ("making", "cut"), ("work", "missing"), ("work", "an empty folder's")),
    ],
)
def test_where_a_kept_listing_cannot_be_read_nothing_is_removed(site: Remains, slug: str, damage: str) -> None:
    data = data_of(site, slug)
    if slug == "making":
        site.plan("making", 1)
        save_fragment(site.store, "making", "make", {"outs": [data]})
    elif slug == "work":
        site.branch("work", data, model_of(site, "newest"))
    site.object(data["md5"]).unlink()
    if (content := DAMAGES[damage]) is not None:
        site.put(data["md5"], content)
    before = site.state()
    name = {"making": "run making, which is not published yet", "work": "branch work"}.get(slug, f"run {slug}")
    with pytest.raises(CommandError) as caught:
        site.retention().remove()
    assert caught.value.status == 2
    said = [text for text in caught.value.tail if text.startswith("error: ")]
    where = f"in {site.settings.remote} is damaged" if damage != "missing" else "is not in the remote"
    assert said == [f"error: retention: {name}: its listing {data['md5']} {where}, so its files are unknown"]
    assert site.state() == before
    assert site.store.keys("retention/") == []


def test_an_unused_listing_that_is_damaged_goes(site: Remains) -> None:
    site.put(data_of(site, "old")["md5"], b"[]")
    site.retention().remove()
    assert site.objects() == whole("newest") | whole("promoted")


def test_a_remote_that_does_not_belong_to_the_git_remote_is_left_alone(site: Remains) -> None:
    shutil.rmtree(site.root / "remote")
    site.file(b"another project's")
    said = f"nothing of run newest is in {site.settings.remote}: do this remote and the git remote belong together"
    with pytest.raises(CommandError, match=f"error: retention: {said}"):
        site.retention().remove()
    assert site.objects() == {md5(b"another project's")}


def test_a_branch_that_was_never_pushed_here_is_told_and_in_nobody_s_way(site: Remains) -> None:
    data, model = site.folder(own=b"elsewhere"), site.file(b"model elsewhere")
    site.branch("work", data, model)
    for checksum in (data["md5"], md5(b"elsewhere"), model["md5"]):
        site.object(checksum).unlink()
    site.retention().remove()
    assert "retention: nothing of branch work is in the remote; its data must be elsewhere" in site.lines
    assert site.objects() == whole("newest") | whole("promoted")


def test_a_branch_that_dvc_cannot_read_stops_it(site: Remains) -> None:
    (site.root / "project" / "dvc.yaml").write_text("stages: [")
    site.git("commit", "--quiet", "--all", "--message", "broken")
    site.git("push", "--quiet", site.settings.git, "main:broken")
    before = site.state()
    with pytest.raises(CommandError, match=r"error: retention: branch broken: DVC cannot read commit \w+: .*dvc\.yaml"):
        site.retention().remove()
    assert site.state() == before


def test_a_branch_from_before_dvc_is_in_nobody_s_way(site: Remains) -> None:
    site.git("rm", "-r", "--quiet", ".")
    site.git("commit", "--quiet", "--message", "before dvc")
    site.git("push", "--quiet", site.settings.git, "HEAD:plain")
    assert site.retention().look()["lost"] == {}


def test_a_file_that_a_kept_run_has_lost_is_told(site: Remains) -> None:
    site.object(md5(b"data of promoted")).unlink()
    done = site.retention().remove()
    assert done["lost"] == {"run promoted": 1}
    assert "retention: warning: of run promoted 1 objects are not in the remote" in site.lines
    assert site.objects() == (whole("newest") | whole("promoted")) - {md5(b"data of promoted")}


def test_what_is_young_is_spared_with_all_that_a_young_listing_names(site: Remains) -> None:
    # As from a laptop whose commit is not pushed yet: of the old night's shard DVC pushed nothing, it was there.
    young, model = site.folder(own=b"data of old", new=b"new"), site.file(b"new model")
    site.file(b"as old as the minimum age")
    for checksum in (young["md5"], md5(b"new"), model["md5"]):
        site.rejuvenate(checksum, hours=47)
    site.rejuvenate(md5(b"as old as the minimum age"), hours=49)
    done = site.retention().remove()
    spared = {young["md5"], md5(b"new"), md5(b"data of old"), model["md5"]}
    assert site.objects() == whole("newest") | whole("promoted") | spared
    assert done["spared"] == 4
    site.now += timedelta(hours=2)
    site.retention().remove()
    assert site.objects() == whole("newest") | whole("promoted")


def test_when_its_time_is_up_it_stops_before_it_removes_anything(site: Remains) -> None:
    before, retention = site.state(), site.retention()
    with pytest.raises(CommandError, match="error: retention: the time is up after 0 of 1 objects"):
        retention._sweep("remove", retention._choose(), objects=[md5(b"data of old")], deadline=0)
    assert site.state() == before


def test_listings_go_before_files(site: Remains) -> None:
    """DVC takes a listing's word for its files: where the removal is killed none may be left that lacks one."""
    retention = site.retention()
    unused = [checksum for checksum, _ in retention._find(retention._choose())["unused"]]
    listings = {data_of(site, slug)["md5"] for slug in ("old", "second")}
    assert set(unused[:2]) == listings
    assert len(unused) == 5


def test_a_file_that_came_today_is_young_though_it_was_changed_long_ago(site: Remains) -> None:
    site.now = utc_now()
    os.utime(site.object(site.file(b"new here")["md5"]), (0, 0))
    site.retention().remove()
    assert md5(b"new here") in site.objects()


def commit(site: Remains, branch: str, **files: str) -> None:
    """A branch with other files."""
    for name, text in files.items():
        (site.root / "project" / name.replace("_", ".")).write_text(text)
    site.git("add", "--all")
    site.git("commit", "--quiet", "--message", branch)
    site.git("push", "--quiet", site.settings.git, f"HEAD:{branch}")


def test_what_is_tracked_without_a_stage_is_kept_and_what_only_dvc_lock_names(site: Remains) -> None:
    added, renamed = site.file(b"added with dvc add"), site.folder(own=b"of a stage that dvc.yaml has no more")
    lock = {"renamed": {"cmd": "true", "outs": [renamed]}}
    commit(site, "work", added_dvc=yaml.safe_dump({"outs": [added]}), dvc_lock=locks.dump(lock, lock))
    site.retention().remove()
    kept = {added["md5"], renamed["md5"], md5(b"of a stage that dvc.yaml has no more")}
    assert site.objects() == whole("newest") | whole("promoted") | kept


def test_what_dvc_would_never_push_is_not_asked_for(site: Remains) -> None:
    data, model = site.folder(own=b"never pushed"), site.file(b"model of a branch")
    site.object(data["md5"]).unlink()
    outs = "outs: [{data: {push: false}}, {plan: {cache: false}}, model]"
    plan = model | {"path": "plan", "md5": f"{md5(b'not in the cache')}.dir"}
    lock = {"make": {"cmd": "true", "outs": [data, plan, model]}}
    commit(site, "work", dvc_yaml=f"stages: {{make: {{cmd: 'true', {outs}}}}}", dvc_lock=locks.dump(lock, lock))
    assert site.retention().remove()["lost"] == {}
    assert model["md5"] in site.objects()
