"""Where conversations go: prefix_affinity, the default, with real workers and their real caches."""

import concurrent.futures
import re

from conftest import MODEL_ID, http_get, wait_until


def finished(worker):
    text = http_get(f"http://127.0.0.1:{worker.admin_port}/metrics")[1]
    return sum(float(value) for value in
               re.findall(r"^pingti_worker_sequences_finished_total\S* (\S+)", text, re.MULTILINE))


def taken_since(cluster, before, count):
    """How many sequences each worker finished since `before`, once they are `count` in all."""
    def difference():
        taken = [finished(w) - b for w, b in zip(cluster.workers, before)]
        return taken if sum(taken) >= count else None
    return wait_until(difference, 10, f"{count} sequences are counted")


def test_a_conversation_goes_on_at_the_worker_that_has_its_past(own_cluster):
    cluster = own_cluster(num_workers=2)
    client = cluster.router.client()
    for name in ("Ada", "Grace", "Alan", "Edsger"):
        history = [{"role": "user", "content": f"My name is {name}. " + "I like long introductions. " * 60}]
        home = None
        for turn in range(3):
            before = [finished(w) for w in cluster.workers]
            answer = client.chat.completions.create(model=MODEL_ID, messages=history, max_tokens=8,
                                                    temperature=0)
            taker = taken_since(cluster, before, 1).index(1)
            if turn > 0:
                assert taker == home
                hit = answer.usage.prompt_cache_hit_tokens
                assert hit > 0.7 * answer.usage.prompt_tokens, f"turn {turn} of {name}: {hit}"
                assert answer.usage.prompt_tokens_details.cached_tokens == hit
            home = taker
            history += [{"role": "assistant", "content": answer.choices[0].message.content},
                        {"role": "user", "content": "Go on."}]


def test_clients_that_share_only_a_system_prompt_are_spread(own_cluster):
    cluster = own_cluster(num_workers=2)
    client = cluster.router.client()
    ask = lambda i: client.chat.completions.create(
        model=MODEL_ID, max_tokens=24, temperature=0, extra_body={"ignore_eos": True},
        messages=[{"role": "system", "content": "You are a helpful assistant. " * 3},
                  {"role": "user", "content": f"Tell me about the number {i}."}])
    ask(0)
    taken_since(cluster, [0, 0], 1)
    before = [finished(w) for w in cluster.workers]
    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        list(pool.map(ask, range(1, 13)))
    assert min(taken_since(cluster, before, 12)) >= 3
