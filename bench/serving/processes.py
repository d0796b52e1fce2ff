"""Servers that a bench starts: each writes to a file of its own, and is ended by its own process id."""

import os
import signal
import subprocess
import sys
import time
import urllib.request

START_TIMEOUT_S = 240


def answers(url):
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False


class Processes:
    def __init__(self, folder, cpus=None):
        """folder: for what they write. cpus: the CPUs that they may run on; None: all."""
        self.folder, self.cpus, self.processes = folder, cpus, []

    def spawn(self, label, command):
        env = {k: v for k, v in os.environ.items() if not k.startswith(("PINGTI_", "LLAMA_"))}
        stay = None if self.cpus is None else lambda: os.sched_setaffinity(0, self.cpus)
        with open(self.folder / f"{label}.log", "wb") as sink:
            self.processes.append(subprocess.Popen(list(map(str, command)), stdout=sink, stderr=sink,
                                                   env=env, preexec_fn=stay))

    def wait_ready(self, url):
        """Until `url` answers 200. Ends this program, with what was written, if one of them ends first."""
        deadline = time.monotonic() + START_TIMEOUT_S
        while not answers(url):
            if any(p.poll() is not None for p in self.processes) or time.monotonic() > deadline:
                self.stop()
                sys.exit(f"{url} did not get ready:\n{self.logs()}")
            time.sleep(0.05)

    def logs(self):
        """The end of what each has written."""
        return "\n".join(f"{path.stem}: {path.read_text(errors='replace')[-2000:]}"
                         for path in sorted(self.folder.glob("*.log")))

    def stop(self):
        for process in reversed(self.processes):
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.processes.clear()
