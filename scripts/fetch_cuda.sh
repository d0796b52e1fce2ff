#!/usr/bin/env bash
# Prints the folder of a CUDA 13.0 toolkit that can compile the GPU worker: the packages that NVIDIA
# publishes for Python, kept in the cache. Callers put its bin on PATH and name it CUDAToolkit_ROOT; NCCL,
# which joins GPUs, lies beside it, where cmake/PingtiCuda.cmake looks.
source "$(dirname "$0")/lib.sh"

toolkit="$CACHE_DIR/cuda-13.0"
if [ ! -e "$toolkit/complete-with-nccl" ]; then
  need_space_mib "$CACHE_DIR" 4000
  step "fetching the CUDA 13.0 compiler into $toolkit"
  rm -rf "$toolkit"
  python3 -m venv "$toolkit" && "$toolkit/bin/pip" install --quiet --disable-pip-version-check \
    nvidia-cuda-nvcc==13.0.88 nvidia-cuda-crt==13.0.88 nvidia-nvvm==13.0.88 \
    nvidia-cuda-runtime==13.0.96 nvidia-cuda-cccl==13.0.85 nvidia-cublas==13.0.2.14 \
    nvidia-nccl-cu13==2.28.9 >&2 ||
    die "the CUDA compiler could not be fetched: is the network up?"
  # The packages carry libcublasLt.so.13, but not the name that linkers look for.
  for library in "$toolkit"/lib/python3*/site-packages/nvidia/cu13/lib/*.so.13; do
    ln -s "$(basename "$library")" "${library%.13}"
  done
  touch "$toolkit/complete-with-nccl"
fi
echo "$toolkit"/lib/python3*/site-packages/nvidia/cu13
