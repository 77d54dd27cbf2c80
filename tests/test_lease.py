import json
import os
import subprocess
import sys
import threading
import time

import pytest

from sift_ray.lease import LEASE_NAME, Lease, LeaseError
from sift_ray.storage import StorageError, open_root

TERM_S = 1.2


@pytest.fixture
def root(tmp_path):
    return open_root(str(tmp_path / "out"))


def of_another_host(root, **changes):
    """Put the lease of a job on another machine."""
    lease = {"holder": "x", "host": "elsewhere", "space": "", "process": "7@1@b", "since": "then", "term_s": TERM_S}
    root.put(LEASE_NAME, json.dumps({**lease, **changes}).encode())


def test_it_is_given_back(root):
    with Lease(root, TERM_S) as lease:
        assert root.exists(LEASE_NAME)
        lease.check()
    assert not root.exists(LEASE_NAME)


def test_it_is_given_back_after_an_error(root):
    with pytest.raises(ZeroDivisionError), Lease(root, TERM_S):
        1 / 0  # noqa: B018
    assert not root.exists(LEASE_NAME)


def test_a_second_job_is_refused_at_once_where_the_first_can_be_seen(root):
    with Lease(root) as first:
        began = time.monotonic()
        with pytest.raises(LeaseError, match=f"another job is writing there: process {os.getpid()} on .* since 20"):
            Lease(root).__enter__()
        assert time.monotonic() - began < 30  # (half of the term: it was not waited for)
        first.check()


def test_the_lease_of_a_killed_process_is_taken_over(root):
    code = (
        "import sys, time; from sift_ray.lease import Lease; from sift_ray.storage import open_root\n"
        "with Lease(open_root(sys.argv[1])):\n    print('held', flush=True); time.sleep(600)"
    )
    other = subprocess.Popen([sys.executable, "-c", code, root.uri], stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(LeaseError, match=f"process {other.pid}"):
            Lease(root).__enter__()
    finally:
        other.kill()
        other.wait()
    with Lease(root) as lease:
        lease.check()


def test_a_lease_of_elsewhere_that_falls_silent_is_taken_over(root):
    of_another_host(root)
    began = time.monotonic()
    with Lease(root, TERM_S) as lease:
        assert time.monotonic() - began >= TERM_S
        lease.check()


def test_a_lease_of_elsewhere_that_is_renewed_is_respected(root):
    of_another_host(root, beat=1)
    renewing = threading.Timer(TERM_S / 3, of_another_host, [root], {"beat": 2})
    renewing.start()
    with pytest.raises(LeaseError, match="process 7 on elsewhere, since then"):
        Lease(root, TERM_S).__enter__()
    renewing.join()
    assert json.loads(root.read(LEASE_NAME))["beat"] == 2


def test_who_loses_it_stops_before_the_next_mark_and_leaves_the_other_its_own(root):
    with Lease(root, TERM_S) as lease:
        of_another_host(root)
        with pytest.raises(LeaseError, match="taken by process 7 on elsewhere"):
            lease.check()
    assert json.loads(root.read(LEASE_NAME))["holder"] == "x"


def test_of_several_at_once_one_gets_it(root):
    outcomes = []
    done = threading.Event()

    def run():
        try:
            with Lease(root, TERM_S):
                outcomes.append("held")
                done.wait(30)
        except LeaseError:
            outcomes.append("refused")

    threads = [threading.Thread(target=run) for _ in range(5)]
    for thread in threads:
        thread.start()
    while len(outcomes) < 5:
        time.sleep(0.05)
    done.set()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["held"] + ["refused"] * 4


def test_it_is_renewed_while_held(root):
    with Lease(root, TERM_S):
        first = json.loads(root.read(LEASE_NAME))["beat"]
        end = time.monotonic() + 30
        while json.loads(root.read(LEASE_NAME))["beat"] < first + 2:
            assert time.monotonic() < end
            time.sleep(0.05)


def test_a_store_that_is_down_for_a_while_costs_nothing(root, monkeypatch, caplog):
    with Lease(root, TERM_S) as lease:
        read = root.read
        monkeypatch.setattr(root, "read", lambda _: (_ for _ in ()).throw(OSError("down")))
        end = time.monotonic() + 30
        while "could not be renewed" not in caplog.text:
            assert time.monotonic() < end
            time.sleep(0.05)
        monkeypatch.setattr(root, "read", read)
        lease.check()


def test_what_is_no_lease_is_named(root):
    root.put(LEASE_NAME, b"not json")
    with pytest.raises(StorageError, match=f"{LEASE_NAME} is no lease"):
        Lease(root).__enter__()


def test_a_renewal_that_hangs_loses_the_lease_for_good(root, monkeypatch):
    """Written at last, it may have been written over the lease of who took this one for dead."""
    lost = threading.Event()
    with Lease(root, TERM_S, on_loss=lost.set) as lease:
        put = root.put
        monkeypatch.setattr(root, "put", lambda *what: (time.sleep(TERM_S * 0.7), put(*what)))
        assert lost.wait(30)
        with pytest.raises(LeaseError, match=r"took \d+ s to renew"):
            lease.check()


def test_a_machine_of_the_same_name_is_another_machine(root):
    with Lease(root, TERM_S):
        mine = json.loads(root.read(LEASE_NAME))
    of_another_host(root, **{name: mine[name] for name in ("host", "space")}, boot="another")
    began = time.monotonic()
    with Lease(root, TERM_S):
        assert time.monotonic() - began >= TERM_S  # it was watched


@pytest.mark.integration
def test_on_s3(seaweed):
    root = open_root(f"s3://{seaweed.bucket}/lease", seaweed.storage)
    with Lease(root) as lease:
        lease.check()
        with pytest.raises(LeaseError):
            Lease(root).__enter__()
    assert not root.exists(LEASE_NAME)
