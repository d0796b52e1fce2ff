"""A worker whose model is shared by ranks says what one with a single rank says, and stands in for it."""

import concurrent.futures
import pathlib
import re

import pytest

from conftest import MODEL_ID, Router, Worker, http_get, wait_until
from test_openai_client import PROMPTS, ask, streamed

# 9 heads and 3 KV heads: no share of theirs is equal.
SIZES = [2]
# On a CPU with products in f32, so that what differs is only the order of additions. A GPU has none:
# there an answer is followed up to a near tie.
GPUS = len(list(pathlib.Path("/proc/driver/nvidia/gpus").glob("*")))
EXACT = [] if GPUS else ["--dtype", "f32"]
NEAR = 0.2 if GPUS else 1e-3  # nats

pytestmark = pytest.mark.skipif(GPUS == 1, reason="takes two GPUs, or none")


@pytest.fixture(scope="module")
def routers(tmp_path_factory):
    """By number of ranks: a router with one such worker."""
    folder = tmp_path_factory.mktemp("tensor-parallel")
    workers = {n: Worker(folder, f"worker-{n}", "--tensor-parallel", n, *EXACT) for n in [1, *SIZES]}
    started = {n: Router(folder, f"router-{n}", [worker]) for n, worker in workers.items()}
    try:
        for process in [*workers.values(), *started.values()]:
            wait_until(process.is_ready, 60, f"ready\n{process.text()[-2000:]}")
        yield started
    finally:
        for process in [*started.values(), *workers.values()]:
            process.kill()


def judged(client, prompt):
    """Each greedy token and its log-probability."""
    answer = client.chat.completions.create(
        model=MODEL_ID, messages=[{"role": "user", "content": prompt}], max_tokens=24,
        temperature=0, logprobs=True)
    content = answer.choices[0].logprobs.content
    return [token.token for token in content], [token.logprob for token in content]


def expect_same(whole, shared):
    """Of two routers: equal greedy tokens, on a GPU up to a near tie, and log-probabilities."""
    for prompt in PROMPTS[:2]:
        (tokens, logprobs), (others, others_logprobs) = (judged(r.client(), prompt) for r in (whole, shared))
        same = next((i for i, pair in enumerate(zip(tokens, others)) if pair[0] != pair[1]), len(tokens))
        assert others_logprobs[:same] == pytest.approx(logprobs[:same], abs=NEAR)
        assert others == tokens or (GPUS and same > 0)


@pytest.mark.parametrize("ranks", SIZES)
def test_greedy_answers_and_their_logprobs_are_those_of_one_rank(routers, ranks):
    expect_same(routers[1], routers[ranks])


@pytest.mark.skipif(GPUS > 0, reason="bf16 sums differ by more than a draw may")
@pytest.mark.parametrize("ranks", SIZES)
def test_a_seed_draws_what_it_draws_on_one_rank(routers, ranks):
    texts = set()
    for seed in range(4):
        sampled = {"temperature": 0.9, "top_p": 0.95, "seed": seed, "max_tokens": 16}
        text = ask(routers[1].client(), PROMPTS[0], **sampled).choices[0].message.content
        shared = ask(routers[ranks].client(), PROMPTS[0], **sampled)
        assert shared.choices[0].message.content == text
        texts.add(text)
    assert len(texts) > 1


def test_answers_do_not_depend_on_their_batch(routers):
    client = routers[2].client()
    alone = [ask(client, prompt).choices[0].message.content for prompt in PROMPTS[:4]]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        together = [pool.submit(ask, client, prompt) for prompt in PROMPTS[:4]]
        assert [a.result().choices[0].message.content for a in together] == alone


def test_another_group_goes_on_where_one_was_killed(own_cluster):
    cluster = own_cluster(worker_args=["--tensor-parallel", 2])
    client = cluster.router.client()
    long = {"max_tokens": 128, "extra_body": {"ignore_eos": True}}
    alone = [ask(client, p, **long).choices[0].message.content for p in PROMPTS[:4]]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        answers = [pool.submit(streamed, client, p, **long) for p in PROMPTS[:4]]
        busy = f"http://127.0.0.1:{cluster.workers[0].admin_port}/metrics"
        wait_until(lambda: re.search(r"^pingti_worker_running_sequences\S* [1-9]",
                                     http_get(busy)[1], re.MULTILINE), 10, "it has sequences")
        cluster.workers[0].kill()
        assert [a.result()[0] for a in answers] == alone
    assert re.search(r"^pingti_router_resumed_sequences_total\S* [1-9]", cluster.router.metrics(),
                     re.MULTILINE), "at least one sequence was resumed"


@pytest.mark.parametrize("args, code, error", [
    ([], 2, "enable_expert_parallel is true, which says something only beside tensor_parallel above 1"),
    (["--tensor-parallel", 2], 1, "enable_expert_parallel is true: the model has no experts; expected false")])
def test_whole_experts_are_refused_where_they_mean_nothing(tmp_path, args, code, error):
    worker = Worker(tmp_path, "worker", "--enable-expert-parallel", *args)
    assert worker.popen.wait(60) == code
    assert error in worker.text()


def test_more_ranks_than_heads_are_refused_by_name(tmp_path):
    worker = Worker(tmp_path, "worker", "--tensor-parallel", 10)
    assert worker.popen.wait(60) == 1
    assert "tensor_parallel is 10: the model has 9 query heads; expected 1 to 9" in worker.text()
