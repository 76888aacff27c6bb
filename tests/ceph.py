"""The smallest Ceph that serves S3, on loopback: one monitor, one OSD and the gateway; needs no root.

A real object store: signatures are checked, conditional puts are atomic, multipart uploads appear whole or not at all.
"""

import secrets
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.s3 import Server, free_port, wait_for_port

PROGRAMS = ("ceph", "ceph-mon", "ceph-osd", "monmaptool", "radosgw", "radosgw-admin")
PACKAGES = "ceph-common ceph-mon ceph-osd radosgw"  # as Debian and Ubuntu call them
TIMEOUT_S = 90
# No keys between the daemons (all of them are ours, on loopback), one copy of everything, and all files in one folder.
CONFIG = """\
[global]
fsid = {cluster}
mon host = v2:127.0.0.1:{monitor}/0
public addr = 127.0.0.1
cluster addr = 127.0.0.1
auth cluster required = none
auth service required = none
auth client required = none
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 8
osd crush chooseleaf type = 0
mon allow pool size one = true
mon max pg per osd = 1000
mon data avail crit = 1
osd objectstore = bluestore
bluestore block size = 4294967296
osd memory target = 939524096
run dir = {folder}
log file = {folder}/$name.log
admin socket = {folder}/$name.asok
pid file = {folder}/$name.pid
crash dir = {folder}
mon data = {folder}/mon
osd data = {folder}/osd
mgr data = {folder}/mgr
ms mon client mode = crc

[client.gateway]
rgw data = {folder}/gateway
rgw frontends = beast endpoint=127.0.0.1:{port}
rgw run sync thread = false
"""


@pytest.fixture(scope="session")
def ceph(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The gateway, without a bucket."""
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if missing:
        pytest.skip(f"{', '.join(missing)} not installed: apt-get install {PACKAGES}")
    with running(tmp_path_factory.mktemp("ceph")) as server:
        yield server


@contextmanager
def running(folder: Path) -> Iterator[Server]:
    """A new cluster in a folder, for as long as the context lasts."""
    server = Server(free_port(), secrets.token_hex(10), secrets.token_hex(20))
    for name in ("mon", "osd", "mgr", "gateway"):
        (folder / name).mkdir()
    cluster, disk, monitor, config = str(uuid.uuid4()), str(uuid.uuid4()), free_port(), folder / "ceph.conf"
    config.write_text(CONFIG.format(cluster=cluster, monitor=monitor, folder=folder, port=server.port))
    (folder / "keyring").touch()

    def run(*command: str) -> None:
        done = subprocess.run(command, cwd=folder, timeout=TIMEOUT_S, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"

    def start(program: str, *options: str) -> subprocess.Popen[bytes]:
        """The daemons are ended in the opposite order, each when the one before is gone."""
        log = daemons.enter_context((folder / f"{program}.out").open("w"))
        command = [program, "-c", str(config), "-f", *options]
        process = daemons.enter_context(subprocess.Popen(command, cwd=folder, stdout=log, stderr=log))
        daemons.callback(process.terminate)
        return process

    with ExitStack() as daemons:
        run("monmaptool", "--create", "--fsid", cluster, "--addv", "a", f"[v2:127.0.0.1:{monitor}]", "monmap")
        run("ceph-mon", "-c", str(config), "--mkfs", "-i", "a", "--monmap", "monmap", "--keyring", "keyring")
        start("ceph-mon", "-i", "a")
        run("ceph", "-c", str(config), "osd", "new", disk)
        run("ceph-osd", "-c", str(config), "--mkfs", "-i", "0", "--osd-uuid", disk)
        start("ceph-osd", "-i", "0")
        run("ceph", "-c", str(config), "osd", "crush", "add", "osd.0", "1.0", "host=here", "root=default")
        user = ("--uid=test", "--display-name=test", f"--access-key={server.key}", f"--secret-key={server.secret}")
        run("radosgw-admin", "-c", str(config), "user", "create", *user)
        gateway = start("radosgw", "-n", "client.gateway")
        wait_for_port(server.port, gateway, folder / "radosgw.out", TIMEOUT_S)
        yield server
