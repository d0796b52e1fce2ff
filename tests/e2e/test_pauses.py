"""A router that stands still for a while (throttled, moved to another machine) fails nothing."""

import concurrent.futures
import signal
import threading
import time

from conftest import MODEL_ID


def test_a_paused_router_does_not_take_its_own_silence_for_its_workers(own_cluster):
    cluster = own_cluster(num_workers=2)
    client = cluster.router.client()
    done = threading.Event()
    failures = []
    answers = []

    def go_on():
        while not done.is_set():
            try:
                stream = client.completions.create(model=MODEL_ID, prompt="Once", max_tokens=40, stream=True,
                                                   temperature=0, extra_body={"ignore_eos": True})
                answers.append("".join(chunk.choices[0].text for chunk in stream))
            except Exception as error:  # noqa: BLE001: whatever it is, it is a failure
                failures.append(error)

    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        for _ in range(6):
            pool.submit(go_on)
        for pause_s in (1, 2, 3, 2, 2):
            begun = len(answers)
            while len(answers) < begun + 2 and not failures:
                time.sleep(0.02)
            cluster.router.popen.send_signal(signal.SIGSTOP)
            time.sleep(pause_s)
            cluster.router.popen.send_signal(signal.SIGCONT)
        done.set()
    assert not failures
    assert len(set(answers)) == 1
    assert "the worker sent nothing" not in cluster.router.text()
