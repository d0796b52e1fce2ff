"""LoRA adapters as models of their own: listed, asked for by name, routed to the workers that have
them."""

import concurrent.futures
import json
import random
import struct
import urllib.error
import urllib.request

import openai
import pytest

from conftest import Cluster, MODEL_ID, Router, Worker, wait_until

HIDDEN, LAYERS, RANK = 576, 4, 4  # of the test's model, SmolLM2-135M; only so many layers adapted


def write_adapter(folder, seed, rank=RANK, **more):
    """Random values, large enough that answers differ: what PEFT would save for two modules."""
    folder.mkdir()
    config = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": rank, "lora_alpha": 8,
              "target_modules": ["q_proj", "o_proj"], "bias": "none", **more}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    rng = random.Random(seed)
    header, data = {}, b""
    for layer in range(LAYERS):
        for module in ["self_attn.q_proj", "self_attn.o_proj"]:
            for half, shape in [("A", [rank, HIDDEN]), ("B", [HIDDEN, rank])]:
                values = [rng.gauss(0, 0.15) for _ in range(shape[0] * shape[1])]
                name = f"base_model.model.model.layers.{layer}.{module}.lora_{half}.weight"
                header[name] = {"dtype": "F32", "shape": shape,
                                "data_offsets": [len(data), len(data) + 4 * len(values)]}
                data += struct.pack(f"<{len(values)}f", *values)
    text = json.dumps(header).encode()
    (folder / "adapter_model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + data)
    return folder


def ask(client, model, prompt="The capital of France is", **more):
    answer = client.completions.create(model=model, prompt=prompt, max_tokens=16, temperature=0, **more)
    assert answer.model == model
    return answer


@pytest.fixture(scope="module")
def adapters(tmp_path_factory):
    folder = tmp_path_factory.mktemp("adapters")
    return {name: write_adapter(folder / name, seed) for seed, name in enumerate(["sql", "poem"])}


class Served:
    """One worker with both adapters, one with the second alone."""

    def __init__(self, folder, adapters):
        both = ",".join(f"{name}={path}" for name, path in adapters.items())
        self.workers = [Worker(folder, "both", "--loras", both),
                        Worker(folder, "one", "--loras", f"poem={adapters['poem']}")]
        self.router = Router(folder, "router", self.workers)
        for process in [*self.workers, self.router]:
            wait_until(process.is_ready, 60, f"ready\n{process.text()[-2000:]}")

    def close(self):
        for process in [self.router, *self.workers]:
            process.kill()


@pytest.fixture(scope="module")
def served(adapters, tmp_path_factory):
    started = Served(tmp_path_factory.mktemp("served"), adapters)
    try:
        yield started
    finally:
        started.close()


def test_adapters_are_models_of_their_own(served):
    client = served.router.client()
    listed = {model.id: model for model in client.models.list()}
    assert set(listed) == {MODEL_ID, "sql", "poem"}
    assert listed["sql"].parent == MODEL_ID
    assert client.models.retrieve("poem").id == "poem"
    texts = {name: ask(client, name).choices[0].text for name in listed}
    assert len(set(texts.values())) == 3, texts
    with pytest.raises(openai.NotFoundError):
        ask(client, "prose")


def test_a_mixed_batch_answers_as_each_alone(served):
    client = served.router.client()
    asked = [(name, f"{number} and") for name in [MODEL_ID, "sql", "poem"] for number in range(4)]
    alone = [ask(client, *one).choices[0].text for one in asked]
    with concurrent.futures.ThreadPoolExecutor(len(asked)) as pool:
        together = list(pool.map(lambda one: ask(client, *one).choices[0].text, asked))
    assert together == alone


def test_prefixes_are_cached_by_adapter(served):
    client = served.router.client()
    prompt = "One two three four five six seven eight nine ten " * 8

    def cached(model):
        return ask(client, model, prompt).usage.prompt_tokens_details.cached_tokens

    assert cached("sql") == 0
    assert cached("sql") > 0
    assert cached("poem") == 0


def test_an_answer_goes_on_at_a_worker_with_the_adapter(adapters, tmp_path):
    loras = f"poem={adapters['poem']}"
    workers = [Worker(tmp_path, "a", "--loras", loras), Worker(tmp_path, "b", "--loras", loras),
               Worker(tmp_path, "none")]
    router = Router(tmp_path, "router", workers)
    try:
        for process in [*workers, router]:
            wait_until(process.is_ready, 60, f"ready\n{process.text()[-2000:]}")
        client = router.client()
        expected = client.completions.create(model="poem", prompt="Once", max_tokens=64, temperature=0,
                                             extra_body={"ignore_eos": True}).choices[0].text
        stream = client.completions.create(model="poem", prompt="Once", max_tokens=64, temperature=0,
                                           stream=True, extra_body={"ignore_eos": True})
        text, killed = "", False
        for chunk in stream:
            text += chunk.choices[0].text if chunk.choices else ""
            if not killed:
                running = [w for w in workers if f'worker="{w.address}"' in router.metrics()]
                next(w for w in running if is_busy(w)).kill()
                killed = True
        assert text == expected
    finally:
        for process in [router, *workers]:
            process.kill()


def is_busy(worker):
    from conftest import http_get

    text = http_get(f"http://127.0.0.1:{worker.admin_port}/metrics")[1]
    return any(line.startswith("pingti_worker_running_sequences") and not line.endswith(" 0")
               for line in text.splitlines())


def change(router, what, **fields):
    request = urllib.request.Request(f"{router.url}/v1/{what}_lora_adapter", json.dumps(fields).encode(),
                                     {"content-type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def test_adapters_come_and_go_while_everything_runs(adapters, tmp_path):
    allow = ["--allow-runtime-lora-updating", "true"]
    workers = [Worker(tmp_path, "a", *allow), Worker(tmp_path, "b", *allow)]
    router = Router(tmp_path, "router", workers, *allow, "--model-aliases", f"other-name={MODEL_ID}")
    try:
        for process in [*workers, router]:
            wait_until(process.is_ready, 60, f"ready\n{process.text()[-2000:]}")
        client = router.client()
        poem = {"lora_name": "poem", "lora_path": str(adapters["poem"])}
        status, body = change(router, "load", **poem)
        assert status == 200, body
        assert {worker["status"] for worker in body["workers"]} == {"loaded"} and len(body["workers"]) == 2
        wait_until(lambda: "poem" in [model.id for model in client.models.list()], 10, "poem is listed")
        assert ask(client, "poem").choices[0].text != ask(client, MODEL_ID).choices[0].text
        status, body = change(router, "load", **poem)
        assert status == 400, body
        assert "is loaded already" in body["error"]["message"]
        status, body = change(router, "load", lora_name="none", lora_path=str(tmp_path / "none"))
        assert status == 400 and "adapter_config.json" in body["error"]["message"], body
        for fields, code, param in [({"lora_name": MODEL_ID}, 400, "lora_name"), ({"lora_name": "other-name"}, 400, "lora_name"),
                                    ({"base_model_name": "none"}, 404, "base_model_name"),
                                    ({"base_model_name": "poem"}, 400, "base_model_name")]:
            status, body = change(router, "load", **{**poem, "lora_name": "new", **fields})
            assert (status, body["error"]["param"]) == (code, param), (fields, body)
        status, body = change(router, "unload", lora_name="poem")
        assert status == 200 and {w["status"] for w in body["workers"]} == {"unloaded"}, body
        wait_until(lambda: "poem" not in [model.id for model in client.models.list()], 10, "poem is gone")
        with pytest.raises(openai.NotFoundError):
            ask(client, "poem")
    finally:
        for process in [router, *workers]:
            process.kill()


def test_adapters_beyond_host_memory_are_read_again(served, adapters, tmp_path):
    from conftest import http_get

    expected = {name: ask(served.router.client(), name).choices[0].text for name in adapters}
    worker = Worker(tmp_path, "small", "--loras", ",".join(f"{n}={p}" for n, p in adapters.items()),
                    "--max-loras", "1", "--max-cpu-loras", "1")
    router = Router(tmp_path, "router", [worker])
    try:
        for process in [worker, router]:
            wait_until(process.is_ready, 60, f"ready\n{process.text()[-2000:]}")
        client = router.client()
        for name in ["sql", "poem"] * 2:
            assert ask(client, name).choices[0].text == expected[name]
        text = http_get(f"http://127.0.0.1:{worker.admin_port}/metrics")[1]
        dropped = next(line for line in text.splitlines() if line.startswith("pingti_worker_adapters_dropped_total"))
        assert float(dropped.split()[-1]) >= 3, dropped
    finally:
        for process in [router, worker]:
            process.kill()


def test_changes_are_refused_unless_the_settings_allow_them(served, adapters):
    status, body = change(served.router, "load", lora_name="more", lora_path=str(adapters["sql"]))
    assert status == 403 and "allow_runtime_lora_updating" in body["error"]["message"]


@pytest.mark.parametrize("more, said", [({"use_dora": True}, "'use_dora' is true"),
                                        ({"rank": 32}, "max_lora_rank, 16")])
def test_an_adapter_that_does_not_fit_stops_the_worker_with_a_line(tmp_path, more, said):
    path = write_adapter(tmp_path / "bad", 3, **more)
    worker = Worker(tmp_path, "worker", "--loras", f"bad={path}")
    assert worker.popen.wait(60) == 1
    assert said in worker.text() and str(path) in worker.text()


def test_an_adapter_with_the_models_own_name_stops_the_worker_with_a_line(adapters, tmp_path):
    worker = Worker(tmp_path, "worker", "--loras", f"{MODEL_ID}={adapters['sql']}")
    assert worker.popen.wait(60) == 1
    assert f"adapter '{MODEL_ID}' has a name of the model itself" in worker.text()
