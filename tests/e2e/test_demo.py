"""`make demo` as a newcomer runs it: an answer, clear messages, and nothing left behind."""

import os
import random
import signal
import socket
import subprocess
import time

import ports
import pytest

from conftest import BIN, MODEL_ID, ROOT, http_get, program_env, wait_until

DEMO = str(ROOT / "scripts/demo.sh")
BASE_PORTS = (8080, 9000, 9090, 9001, 9002, 9091, 9092)


def free_offset():
    """An offset that moves all the demo's ports to free ones, none of which free_port() gives to others."""
    offsets = range(ports.END - min(BASE_PORTS), ports.FIRST_OUTGOING - max(BASE_PORTS))
    return next(offset for offset in random.sample(offsets, len(offsets))
                if all(ports.is_free(base + offset) for base in BASE_PORTS))


@pytest.fixture
def start_demo():
    """Starts the demo in a session of its own, which ends with the test however that ends."""
    started = []

    def start(*args, offset=None):
        offset = free_offset() if offset is None else offset
        popen = subprocess.Popen([DEMO, *args], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                 start_new_session=True,
                                 env={**program_env(), "DEMO_PORT_OFFSET": str(offset)})
        started.append(popen)
        return popen, offset

    yield start
    for popen in started:
        try:
            os.killpg(popen.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass  # nothing is left of it, as it should be
        popen.wait()


def session_members(session):
    listing = subprocess.run(["ps", "-o", "pid=,args=", "-s", str(session)], capture_output=True,
                             text=True, check=False).stdout
    return [line for line in listing.splitlines() if line.strip()]


def assert_nothing_left(popen):
    wait_until(lambda: not session_members(popen.pid), 10,
               f"no process left: {session_members(popen.pid)}")


def test_once_answers_and_leaves_nothing_behind(start_demo):
    popen, _ = start_demo("--once")
    output, _ = popen.communicate(timeout=60)
    assert popen.returncode == 0, output
    assert "Paris" in output
    assert "/metrics" in output
    assert_nothing_left(popen)


@pytest.mark.parametrize("delay_s", [0.05, 0.4, 1.0, None])
def test_ctrl_c_at_any_stage_leaves_nothing_behind(start_demo, delay_s):
    popen, offset = start_demo()
    if delay_s is None:
        wait_until(lambda: http_get(f"http://127.0.0.1:{9090 + offset}/readyz")[0] == 200, 60, "ready")
    else:
        time.sleep(delay_s)
    os.killpg(popen.pid, signal.SIGINT)  # what a terminal does
    popen.communicate(timeout=20)
    assert popen.returncode != 0
    assert_nothing_left(popen)


def test_even_a_killed_demo_leaves_nothing_behind(start_demo):
    popen, offset = start_demo()
    wait_until(lambda: http_get(f"http://127.0.0.1:{9090 + offset}/readyz")[0] == 200, 60, "ready")
    popen.kill()
    popen.communicate(timeout=20)
    assert_nothing_left(popen)


def test_a_port_in_use_is_named(start_demo):
    offset = free_offset()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 8080 + offset))
        taken.listen()
        popen, _ = start_demo("--once", offset=offset)
        output, _ = popen.communicate(timeout=60)
    assert popen.returncode == 1
    assert str(8080 + offset) in output and "in use" in output
    assert_nothing_left(popen)


@pytest.mark.parametrize("make_model, named", [
    (lambda folder: folder / "missing.gguf", "missing.gguf"),
    (lambda folder: ROOT / "LICENSE", "LICENSE"),
])
def test_a_wrong_model_is_named(start_demo, tmp_path, make_model, named):
    popen, _ = start_demo("--once", "--model", str(make_model(tmp_path)))
    output, _ = popen.communicate(timeout=60)
    assert popen.returncode == 1
    assert named in output
    assert_nothing_left(popen)


def test_chat_keeps_history_and_reports_unknown_commands(cluster, client):
    questions = ["Name a colour.", "Name another one."]
    chat = subprocess.run([BIN / "pingti", "chat", "--url", cluster.router.url, "--temperature", "0",
                           "--max-tokens", "24"], input="\n".join(questions) + "\n/nonsense\n/quit\n",
                          capture_output=True, text=True, timeout=60, check=False)
    assert chat.returncode == 0, chat.stderr
    assert "/nonsense" in chat.stderr
    history, expected = [], ""
    for question in questions:
        history.append({"role": "user", "content": question})
        answer = client.chat.completions.create(model=MODEL_ID, temperature=0, max_tokens=24,
                                                messages=history).choices[0].message.content
        history.append({"role": "assistant", "content": answer})
        expected += answer + "\n"
    assert chat.stdout == expected


def test_inspect_describes_the_model():
    inspect = subprocess.run([BIN / "pingti", "inspect", os.environ["PINGTI_TEST_MODEL"]],
                             capture_output=True, text=True, check=False)
    assert inspect.returncode == 0 and "134.5 million" in inspect.stdout


@pytest.mark.parametrize("question", ["", "  \n"])
def test_chat_says_that_an_empty_question_is_none(question):
    chat = subprocess.run([BIN / "pingti", "chat", "--url", "http://127.0.0.1:1", "--once", question],
                          capture_output=True, text=True, timeout=30, env=program_env())
    assert chat.returncode == 2 and "--once" in chat.stderr


def test_chat_does_not_send_a_line_of_spaces(cluster):
    chat = subprocess.run([BIN / "pingti", "chat", "--url", cluster.router.url], input="   \n\t\n",
                          capture_output=True, text=True, timeout=30, env=program_env())
    assert (chat.returncode, chat.stdout) == (0, ""), chat.stderr


def test_chat_names_text_that_is_not_utf_8(cluster):
    command = [BIN / "pingti", "chat", "--url", cluster.router.url + "/v1/", "--once", b"caf\xe9"]
    chat = subprocess.run(command, capture_output=True, text=True, timeout=30, env=program_env())
    assert chat.returncode == 1
    assert "error: the text of the user message is not UTF-8" in chat.stderr


@pytest.mark.parametrize("flags, named", [
    (["--temperature", "nan"], "--temperature: nan"),
    (["--seed", "99999999999999999999"], "--seed: 99999999999999999999: expected an integer"),
])
def test_chat_refuses_numbers_that_are_none_of_its_own(flags, named):
    command = [BIN / "pingti", "chat", "--url", "http://127.0.0.1:1", "--once", "hi", *flags]
    chat = subprocess.run(command, capture_output=True, text=True, timeout=30, env=program_env())
    assert chat.returncode == 2 and named in chat.stderr


def test_an_answer_that_a_full_disk_does_not_take_is_an_error(cluster):
    command = [BIN / "pingti", "chat", "--url", cluster.router.url, "--once", "hi"]
    with open("/dev/full", "w") as full:
        chat = subprocess.run([*command, "--max-tokens", "3"], stdout=full, stderr=subprocess.PIPE,
                              text=True, timeout=30, env=program_env())
    assert chat.returncode == 1 and "the output cannot be written" in chat.stderr


def test_chat_says_when_nobody_answers():
    chat = subprocess.run([BIN / "pingti", "chat", "--url", "http://127.0.0.1:1", "--once", "hi"],
                          capture_output=True, text=True, timeout=30, check=False)
    assert chat.returncode == 1
    assert "127.0.0.1" in chat.stderr


@pytest.mark.parametrize("program, argument, named", [
    ("pingti-worker", "--max-batch-siez=4", "max-batch-size"),
    ("pingti-router", "--http-prot=1", "http-port"),
    ("pingti-worker", "--port=70000", "port"),
])
def test_a_wrong_setting_is_refused_with_the_right_one(program, argument, named):
    result = subprocess.run([BIN / program, argument], capture_output=True, text=True, timeout=10,
                            check=False, env=program_env())
    assert result.returncode != 0
    assert named in result.stderr


def test_an_unknown_command_is_named_with_the_nearest():
    wrong = subprocess.run([BIN / "pingti", "inspcet", "model"], capture_output=True, text=True, timeout=30,
                           env=program_env())
    assert wrong.returncode == 2
    assert "unknown command 'inspcet'; did you mean 'inspect'?" in wrong.stderr


@pytest.mark.parametrize("command", [("pingti", "inspect", os.environ.get("PINGTI_TEST_MODEL", "")), ("pingti", "--help"),
                                     ("pingti-router", "--print-config"), ("pingti-worker", "--help")])
def test_output_that_a_full_disk_does_not_take_is_an_error(command):
    with open("/dev/full", "w") as full:
        told = subprocess.run([BIN / command[0], *command[1:]], stdout=full, stderr=subprocess.PIPE, text=True,
                              timeout=30, env=program_env())
    assert told.returncode == 1
    assert "the output cannot be written" in told.stderr
