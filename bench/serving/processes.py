"""Servers that a bench starts: each writes to a file of its own, and is ended by its own process id."""

import os
import signal
import subprocess
import sys
import time
import urllib.request

START_TIMEOUT_S, STOP_TIMEOUT_S = 240, 60


def answers(url):
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False


class Processes:
    def __init__(self, folder, cpus=None, are_groups=False):
        """folder: for what they write. cpus: the CPUs that they may run on; None: all.

        are_groups: the commands are a user's, such as scripts: they get all of this program's environment,
        and what they start is ended with them.
        """
        self.folder, self.cpus, self.are_groups, self.processes = folder, cpus, are_groups, []

    def spawn(self, label, command):
        env = {k: v for k, v in os.environ.items()
               if self.are_groups or not k.startswith(("PINGTI_", "LLAMA_"))}
        stay = None if self.cpus is None else lambda: os.sched_setaffinity(0, self.cpus)
        with open(self.folder / f"{label}.log", "wb") as sink:
            self.processes.append(subprocess.Popen(list(map(str, command)), stdout=sink, stderr=sink,
                                                   env=env, preexec_fn=stay,
                                                   start_new_session=self.are_groups))

    def wait_ready(self, url, answers=answers, timeout_s=START_TIMEOUT_S):
        """Until answers(url). Ends this program, with what was written, if one of them ends first."""
        deadline = time.monotonic() + timeout_s
        while not answers(url):
            if any(p.poll() is not None for p in self.processes) or time.monotonic() > deadline:
                self.stop()
                sys.exit(f"{url} did not get ready:\n{self.logs()}")
            time.sleep(0.05)

    def logs(self):
        """The end of what each has written."""
        return "\n".join(f"{path.stem}: {path.read_text(errors='replace')[-2000:]}"
                         for path in sorted(self.folder.glob("*.log")))

    def send(self, process, sig):
        if not self.are_groups:
            process.send_signal(sig)
            return
        try:
            os.killpg(process.pid, sig)
        except ProcessLookupError:
            pass

    def stop(self):
        for process in reversed(self.processes):
            self.send(process, signal.SIGTERM)
            try:
                process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self.send(process, signal.SIGKILL)
                process.wait()
        self.processes.clear()
