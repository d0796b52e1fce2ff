"""The archive of scripts/bundle.sh: complete in itself, the same bytes each time, and it serves."""

import os
import pathlib
import shutil
import subprocess

import pytest

import conftest

ROOT = conftest.ROOT
PROGRAMS = ("pingti", "pingti-router", "pingti-worker")
# What a host brings: the C library's parts and nothing else.
HOST = ("linux-vdso.so", "ld-linux", "libc.so", "libm.so", "libmvec.so", "libpthread.so", "libdl.so",
        "librt.so", "libresolv.so")

pytestmark = pytest.mark.skipif(not shutil.which("patchelf"), reason="patchelf is not installed")


def pack(folder):
    subprocess.run([ROOT / "scripts/bundle.sh", "--programs", conftest.BIN, "--out", folder, "--xz-level", "0"],
                   check=True, capture_output=True)
    (archive,) = folder.glob("*.tar.xz")
    return archive


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    return pack(tmp_path_factory.mktemp("packed"))


@pytest.fixture(scope="module")
def unpacked(archive, tmp_path_factory):
    folder = tmp_path_factory.mktemp("another place")
    subprocess.run(["tar", "-xf", archive, "-C", folder], check=True)
    (bundle,) = folder.iterdir()
    return bundle


def run(bundle, program, *args):
    return subprocess.run([bundle / "bin" / program, *args], check=True, capture_output=True, text=True,
                          env={"PATH": "/usr/bin", "LD_LIBRARY_PATH": ""}).stdout


def test_the_same_programs_give_the_same_bytes(archive, tmp_path):
    assert pack(tmp_path).read_bytes() == archive.read_bytes()
    subprocess.run(["sha256sum", "--quiet", "-c", f"{archive.name}.sha256"], cwd=archive.parent, check=True)


def test_every_file_has_its_checksum_and_every_library_its_licence(unpacked):
    subprocess.run(["sha256sum", "--quiet", "--strict", "-c", "SHA256SUMS"], cwd=unpacked, check=True)
    listed = {line.split(maxsplit=1)[1] for line in (unpacked / "SHA256SUMS").read_text().splitlines()}
    there = {str(p.relative_to(unpacked)) for p in unpacked.rglob("*") if p.is_file()}
    assert there - listed == {"SHA256SUMS"}
    assert (unpacked / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()
    assert len(list((unpacked / "share/doc").glob("*/copyright"))) > 5
    assert "needs glibc 2." in (unpacked / "VERSION").read_text()


def test_libraries_come_from_the_bundle_alone(unpacked):
    for program in PROGRAMS:
        done = subprocess.run(["ldd", unpacked / "bin" / program], check=True, capture_output=True, text=True,
                              env={"PATH": "/usr/bin", "LD_LIBRARY_PATH": ""})
        lines = [line.strip() for line in done.stdout.splitlines()]
        foreign = [line for line in lines
                   if str(unpacked) not in line and not pathlib.Path(line.split()[0]).name.startswith(HOST)]
        assert not foreign, f"{program}: {foreign}"
        assert any(str(unpacked) in line for line in lines), program


def test_programs_run_where_only_the_c_library_is(unpacked, tmp_path):
    if os.geteuid() != 0:
        pytest.skip("only root may change the root directory")
    root = tmp_path / "root"
    shutil.copytree(unpacked, root / "opt/pingti")
    loaded = subprocess.run(["ldd", unpacked / "bin/pingti-worker"], check=True, capture_output=True, text=True)
    for line in loaded.stdout.splitlines():
        name = line.split()[0]
        if pathlib.Path(name).name.startswith(HOST) and "vdso" not in name:
            path = pathlib.Path(name if name.startswith("/") else line.split()[2])
            target = root / str(path).lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path.resolve(), target)
    shutil.copytree(ROOT / "tests/golden/model/tiny/qwen2", root / "model")
    inside = [[f"/opt/pingti/bin/{program}", "--version"] for program in PROGRAMS]
    inside.append(["/opt/pingti/bin/pingti", "inspect", "/model"])
    for command in inside:
        # There is no /proc inside, from which the loader would learn where the program lies.
        done = subprocess.run([shutil.which("chroot"), root, *command], capture_output=True, text=True,
                              env={"LD_ORIGIN_PATH": "/opt/pingti/bin"})
        assert done.returncode == 0, f"{command}: {done.stderr}"
    assert "qwen2" in done.stdout


def test_the_bundle_answers_a_question(unpacked, own_cluster, monkeypatch):
    monkeypatch.setattr(conftest, "BIN", unpacked / "bin")
    monkeypatch.setenv("LD_LIBRARY_PATH", "")
    cluster = own_cluster(num_workers=1)
    mapped = pathlib.Path(f"/proc/{cluster.router.popen.pid}/maps").read_text()
    assert str(unpacked / "lib") in mapped
    answer = run(unpacked, "pingti", "chat", "--url", cluster.router.url, "--temperature", "0", "--once",
                 "What is the capital of France? Answer in one word.")
    assert "Paris" in answer, answer
