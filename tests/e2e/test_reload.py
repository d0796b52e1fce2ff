"""Settings and keys change while the router runs, and what is under way does not notice."""

import hashlib
import json
import os
import re
import signal
import urllib.error
import urllib.request

import pytest
import yaml

from conftest import MODEL_ID, Router, wait_until


def hash_of(key):
    return hashlib.sha256(key.encode()).hexdigest()


def replace(path, text):
    """As Kubernetes and editors do: another file in its place."""
    new = path.with_suffix(".new")
    new.write_text(text)
    os.replace(new, path)


def ask(router, key="", model=MODEL_ID):
    """Status, headers and body of a short completion."""
    body = json.dumps({"model": model, "prompt": "Once", "max_tokens": 2}).encode()
    request = urllib.request.Request(router.url + "/v1/completions", body, {
        "Content-Type": "application/json", "Authorization": f"Bearer {key}"})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.headers, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, error.headers, json.loads(error.read())


def failed(router, source):
    return re.search(rf'^pingti_router_config_reload_failed{{source="{source}"}} (\d)$', router.metrics(),
                     re.MULTILINE)[1]


@pytest.fixture
def start(cluster, tmp_path):
    """A router of its own before the shared workers."""
    routers = []

    def start_one(settings, *args):
        file = tmp_path / "router.yaml"
        file.write_text(yaml.safe_dump(settings))
        routers.append(Router(tmp_path, "router", cluster.workers, "--config", file, *args))
        wait_until(routers[0].is_ready, 30, f"router ready\n{routers[0].text()[-2000:]}")
        return routers[0], file

    yield start_one
    for router in routers:
        router.kill()


def test_aliases_and_limits_change_without_a_restart(start):
    router, file = start({"model_aliases": [f"old={MODEL_ID}"]})
    client = router.client()
    stream = client.chat.completions.create(model="old", messages=[{"role": "user", "content": "Count."}], stream=True,
                                            max_tokens=64, extra_body={"ignore_eos": True})
    first = next(iter(stream))
    assert first.model == MODEL_ID
    replace(file, yaml.safe_dump({"model_aliases": [f"new={MODEL_ID}"], "models": ["absent"], "policy": "least_loaded"}))
    router.popen.send_signal(signal.SIGHUP)
    wait_until(lambda: ask(router, model="new")[0] == 200, 20, "the new alias")
    assert ask(router, model="old")[0] == 404
    status, headers, body = ask(router, model="absent")
    assert status == 503 and int(headers["retry-after"]) > 0, body
    wait_until(lambda: 'pingti_router_ready_workers{model="absent"} 0' in router.metrics(), 20, "the gauge of the model")
    assert "absent" in {model.id for model in client.models.list()}
    assert [chunk for chunk in stream][-1].choices[0].finish_reason == "length"  # what was under way went on

    replace(file, yaml.safe_dump({"policy": "fastest"}))
    wait_until(lambda: failed(router, "settings") == "1", 20, "the bad file is told")
    assert "fastest" in router.text() and ask(router, model="new")[0] == 200
    replace(file, yaml.safe_dump({"max_queued_sequences": 1}))
    wait_until(lambda: failed(router, "settings") == "0", 20, "the file is mended")
    assert ask(router, model="new")[0] == 404


def test_keys_change_without_a_restart(start, tmp_path):
    keys = tmp_path / "keys.yaml"
    keys.write_text(yaml.safe_dump({"keys": [{"name": "team", "sha256": hash_of("sk-old"), "class": "batch",
                                              "requests_per_minute": 2}]}))
    router, _ = start({}, "--api-keys-file", keys)
    assert ask(router, "sk-other")[0] == 401
    status, headers, _ = ask(router, "sk-old")
    assert status == 200 and headers["x-ratelimit-remaining-requests"] == "1"
    replace(keys, yaml.safe_dump({"keys": [{"name": "team", "sha256": [hash_of("sk-old"), hash_of("sk-new")],
                                            "class": "batch", "requests_per_minute": 2}]}))
    wait_until(lambda: "the API keys have changed" in router.text(), 20, "the new keys")
    assert ask(router, "sk-new")[0] == 200
    status, headers, body = ask(router, "sk-old")  # both are the team's, and two is its limit
    assert status == 429 and 0 < int(headers["retry-after"]) <= 30, body
    replace(keys, "keys:\n- {nam: team}\n")
    wait_until(lambda: failed(router, "keys") == "1", 20, "the bad file is told")
    assert ask(router, "sk-new")[0] == 429 and ask(router, "sk-other")[0] == 401
    log = router.text()
    assert '"key":"team"' in log and "sk-old" not in log and "sk-new" not in log
    assert re.search(r'^pingti_router_class_requests_total{code="429",tenant_class="batch"} 2$|'
                     r'^pingti_router_class_requests_total{tenant_class="batch",code="429"} 2$', router.metrics(),
                     re.MULTILINE)
