"""A model whose ranks are in two processes, as in two pods: it says what one process says, and whoever is lost is
noticed in time and replaced, without a client noticing."""

import re
import signal
import time

import pytest

from conftest import MODEL_ID, Router, Worker, free_ports, http_get, wait_until
from test_openai_client import PROMPTS, ask
from test_tensor_parallel import EXACT, GPUS, expect_same

pytestmark = pytest.mark.skipif(GPUS == 1, reason="takes two GPUs, or none")


class Group:
    """Two processes with a rank each; the leader comes first."""

    def __init__(self, folder, name, *args, follower_args=(), leader_address="127.0.0.1"):
        (self.port,) = free_ports(1)
        both = ["--tensor-parallel", 2, "--world-size", 2, "--group-port", self.port, *EXACT, *args]
        gpus = [["--gpu-index", rank] if GPUS else [] for rank in range(2)]
        self.leader = Worker(folder, f"{name}-leader", *both, *gpus[0])
        self.follower = Worker(folder, f"{name}-follower", *both, *gpus[1], "--rank", 1,
                               "--leader-address", leader_address, *follower_args)

    def kill(self):
        self.leader.kill()
        self.follower.kill()


@pytest.fixture
def start(tmp_path):
    """Starts groups, workers and routers that end with the test."""
    started = []

    def run(kind, *args, **kwargs):
        process = kind(tmp_path, f"{kind.__name__}-{len(started)}", *args, **kwargs)
        started.append(process)
        return process

    yield run
    for process in reversed(started):
        process.kill()


def time_to_red(worker):
    """Seconds until /healthz is not well any more, or nobody answers there."""
    begin = time.monotonic()
    wait_until(lambda: http_get(f"http://127.0.0.1:{worker.admin_port}/healthz")[0] != 200, 20, "red health")
    return time.monotonic() - begin


def wait_ready(*processes):
    for process in processes:
        wait_until(process.is_ready, 60, f"ready\n{process.text()[-2000:]}")


def test_two_processes_say_what_one_says(start):
    group, whole = start(Group), start(Worker, *EXACT)
    routers = [start(Router, [worker]) for worker in (group.leader, whole)]
    wait_ready(*routers, group.follower)
    expect_same(routers[1], routers[0])
    ranks = [re.search(r"^pingti_worker_ranks\{.*\} (\d+)$", http_get(
        f"http://127.0.0.1:{worker.admin_port}/metrics")[1], re.MULTILINE) for worker in (
            group.leader, whole, group.follower)]
    assert [found and found[1] for found in ranks] == ["2", "1", None]


@pytest.mark.parametrize("lose", [signal.SIGKILL, signal.SIGSTOP])
def test_a_lost_follower_ends_its_group_and_its_answers_go_on_elsewhere(start, lose):
    group, spare = start(Group), start(Worker, *EXACT)
    router = start(Router, [group.leader])
    wait_ready(router)
    want = ask(router.client(), PROMPTS[0], max_tokens=150).choices[0].message.content
    second = start(Router, [group.leader, spare], "--policy", "round_robin")
    wait_ready(second)
    answers = []
    stream = second.client().chat.completions.create(
        model=MODEL_ID, messages=[{"role": "user", "content": PROMPTS[0]}],
        max_tokens=150, temperature=0, stream=True)
    other = second.client().chat.completions.create(
        model=MODEL_ID, messages=[{"role": "user", "content": PROMPTS[0]}],
        max_tokens=150, temperature=0, stream=True)
    for _ in range(5):
        answers.append(next(stream))
    group.follower.popen.send_signal(lose)
    red = time_to_red(group.leader)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in [*answers, *stream] if chunk.choices)
    other_text = "".join(chunk.choices[0].delta.content or "" for chunk in other if chunk.choices)
    if not GPUS:
        assert text == other_text == want
    assert red < 5  # rank_timeout is 2 s; the rest is a busy machine's
    wait_until(lambda: group.leader.popen.poll() is not None, 20, "the leader's end")
    assert group.leader.popen.returncode == 70
    # Whichever rank notices first.
    assert re.search("rank 1 is lost|lost rank 1", group.leader.text())


@pytest.mark.parametrize("lose", [signal.SIGKILL, signal.SIGSTOP])
def test_a_follower_lost_while_nothing_runs_ends_its_group(start, lose):
    group = start(Group)
    wait_ready(group.leader, group.follower)
    group.follower.popen.send_signal(lose)
    wait_until(lambda: group.leader.popen.poll() is not None, 20, "the leader's end")
    assert group.leader.popen.returncode == 70
    assert re.search("rank 1 is lost|lost rank 1", group.leader.text())


def test_a_group_that_is_asked_to_end_drains(start):
    group = start(Group)
    router = start(Router, [group.leader])
    wait_ready(router, group.follower)
    stream = router.client().chat.completions.create(
        model=MODEL_ID, messages=[{"role": "user", "content": PROMPTS[0]}],
        max_tokens=60, temperature=0, stream=True)
    chunks = [next(stream) for _ in range(3)]
    for process in (group.follower, group.leader):
        process.popen.terminate()
    chunks += list(stream)
    assert chunks[-1].choices[0].finish_reason in ("length", "stop")
    # Another signal would end them at once.
    assert group.leader.popen.wait(20) == 0
    assert group.follower.popen.wait(20) == 0


def test_a_group_forms_over_ipv6(start):
    group = start(Group, "--address", "::1", "--admin-address", "127.0.0.1", leader_address="::1")
    wait_ready(group.leader, group.follower)


def test_a_lost_leader_takes_its_follower_along(start):
    group = start(Group)
    wait_ready(group.leader, group.follower)
    group.leader.popen.send_signal(signal.SIGSTOP)
    wait_until(lambda: group.follower.popen.poll() is not None, 20, "the follower's end")
    assert "the leader gave no sign of life" in group.follower.text()
    assert group.follower.popen.returncode != 0


def test_a_leader_that_is_stopped_in_order_takes_its_follower_along(start):
    group = start(Group)
    wait_ready(group.leader, group.follower)
    assert group.leader.stop() == 0
    wait_until(lambda: group.follower.popen.poll() is not None, 20, "the follower's end")


def test_a_follower_that_errs_ends_its_group_by_name(start):
    group = start(Group, follower_args=["--kv-memory", "1KiB"])
    wait_until(lambda: group.leader.popen.poll() is not None, 60, "the leader's end")
    assert group.leader.popen.returncode == 1
    assert re.search(r"rank 1 of 2 processes: .*KV", group.leader.text())
    assert group.follower.popen.wait(20) != 0


def test_a_process_with_other_settings_is_refused_by_name(start):
    group = start(Group, "--group-timeout", "3s", follower_args=["--max-batch-size", 7])
    wait_until(lambda: group.follower.popen.poll() is not None, 20, "the follower's end")
    assert "its checkpoint or settings are not the leader's" in group.follower.text()
    wait_until(lambda: group.leader.popen.poll() is not None, 20, "the leader's end")
    assert "waited for rank 1" in group.leader.text()


def test_settings_that_do_not_fit_each_other_are_named(start):
    for args, words in [
            (["--world-size", 2], "tensor_parallel is 1: expected a multiple of world_size, 2"),
            (["--rank", 1], "rank is 1: expected one below world_size, 1"),
            (["--tensor-parallel", 2, "--world-size", 2, "--rank", 1], "leader_address is empty"),
    ]:
        worker = start(Worker, *args)
        assert worker.popen.wait(20) == 2
        assert words in worker.text()
