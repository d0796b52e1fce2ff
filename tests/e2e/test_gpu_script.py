"""tests/gpu/run.sh, on programs that only say what real ones would: its table, its sum and its verdict."""

import subprocess

from conftest import ROOT

PASSED = "[  PASSED  ] 3 tests."
SOME_SKIPPED = "[  PASSED  ] 3 tests.\n[  SKIPPED ] 2 tests, listed below:"
FAILED = "[  PASSED  ] 1 test.\n[  FAILED  ] 2 tests, listed below:"
KERNEL = "case x is wrong\nkernel_test: 4 passed, 0 failed"


def run(folder, **programs):
    """programs: name=(text, exit status)."""
    for name, (text, status) in programs.items():
        program = folder / "tests" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(f"#!/bin/sh\ncat <<'END'\n{text}\nEND\nexit {status}\n")
        program.chmod(0o755)
    done = subprocess.run([ROOT / "tests/gpu/run.sh", folder], capture_output=True, text=True, check=False)
    return done, done.stdout.splitlines()[-1] if done.stdout else ""


def test_cases_of_both_kinds_are_added_up(tmp_path):
    done, last = run(tmp_path, a_cuda_b_test=(SOME_SKIPPED, 0), kernel_x=(KERNEL, 0))
    assert (done.returncode, last) == (0, "7 passed, 0 failed, 2 skipped")


def test_a_failure_fails_the_run_and_shows_its_output(tmp_path):
    done, last = run(tmp_path, a_cuda_b_test=(PASSED, 0), c_cuda_d_test=("why\n" + FAILED, 1))
    assert (done.returncode, last) == (1, "4 passed, 2 failed, 0 skipped")
    assert "| why" in done.stdout


def test_a_crash_without_a_word_is_a_failure(tmp_path):
    done, last = run(tmp_path, a_cuda_b_test=(PASSED, 0), c_cuda_d_test=("", 139))
    assert (done.returncode, last) == (1, "3 passed, 1 failed, 0 skipped")


def test_a_program_without_a_device_fails_the_run(tmp_path):
    done, last = run(tmp_path, a_cuda_b_test=(PASSED, 0), c_cuda_d_test=("SKIPPED: no CUDA device", 77))
    assert (done.returncode, last) == (1, "3 passed, 0 failed, 1 skipped")
    assert "1 of 2 programs found no device" in done.stderr


def test_a_folder_without_programs_is_refused(tmp_path):
    done, _ = run(tmp_path)
    assert done.returncode == 1 and "no CUDA test program" in done.stderr
