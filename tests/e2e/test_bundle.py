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


def packed_with_gpu_worker(folder, worker):
    return subprocess.run([ROOT / "scripts/bundle.sh", "--programs", conftest.BIN, "--cuda-programs", worker.parent,
                           "--out", folder, "--xz-level", "0"], capture_output=True, text=True, check=False)


def compile_c(target, source, *args):
    subprocess.run(["cc", "-x", "c", "-o", target, "-", "-x", "none", *args], check=True, input=source, text=True)


def test_the_gpu_bundle_carries_cublaslt_and_says_what_it_needs(tmp_path):
    """With a small library in the place of cuBLASLt (542 MB), in the Python package that it comes in."""
    site = tmp_path / "site-packages"
    library = site / "nvidia/cu13/lib/libcublasLt.so.13"
    package = site / "nvidia_cublas-13.0.dist-info"
    library.parent.mkdir(parents=True)
    (package / "licenses").mkdir(parents=True)
    (package / "licenses/License.txt").write_text("the licence of cuBLASLt")
    (package / "RECORD").write_text("nvidia/cu13/lib/libcublasLt.so.13,sha256=0,1\n")
    (package / "METADATA").write_text("Name: nvidia-cublas\nVersion: 13.0\n")
    compile_c(library, "int cublas(void) { return 13; }", "-shared", f"-Wl,-soname,{library.name}")
    worker = tmp_path / "programs/pingti-worker"
    worker.parent.mkdir()
    compile_c(worker, '#include <stdio.h>\nint cublas(void);\nint main() { printf("worker %d\\n", cublas()); }',
              library, f"-Wl,-rpath,{library.parent}")

    done = packed_with_gpu_worker(tmp_path / "out", worker)
    assert done.returncode == 0, done.stderr
    (archive,) = (tmp_path / "out").glob("*.tar.xz")
    assert archive.name.endswith("-cuda13.tar.xz")
    subprocess.run(["tar", "-xf", archive, "-C", tmp_path], check=True)
    bundle = tmp_path / archive.name.removesuffix(".tar.xz")
    assert "needs an NVIDIA driver for CUDA 13 (580 or newer for 13)" in (bundle / "VERSION").read_text()
    assert (bundle / "share/doc/nvidia-cublas/copyright").read_text() == "the licence of cuBLASLt"
    shutil.rmtree(site)
    assert run(bundle, "pingti-worker") == "worker 13\n"


def test_a_cpu_worker_does_not_go_into_a_gpu_bundle(tmp_path):
    done = packed_with_gpu_worker(tmp_path, conftest.BIN / "pingti-worker")
    assert done.returncode == 1 and "was built without CUDA" in done.stderr
