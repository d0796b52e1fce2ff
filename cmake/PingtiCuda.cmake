# Decides whether the CUDA kernels are part of this build, and whether ranks on several GPUs can be
# joined: sets PINGTI_HAVE_CUDA and PINGTI_HAVE_NCCL.

set(PINGTI_HAVE_CUDA OFF)
set(PINGTI_HAVE_NCCL OFF)
if(NOT PINGTI_CUDA STREQUAL "OFF")
  include(CheckLanguage)
  check_language(CUDA)
  if(CMAKE_CUDA_COMPILER)
    set(PINGTI_HAVE_CUDA ON)
    # Here and not in kernels/, so that whatever links the kernels knows the language, its libraries
    # and the architectures (see kernels/CMakeLists.txt).
    if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
      set(CMAKE_CUDA_ARCHITECTURES "80-real;90a-real")
    endif()
    enable_language(CUDA)
    find_package(CUDAToolkit 13 REQUIRED)
  elseif(PINGTI_CUDA STREQUAL "ON")
    message(FATAL_ERROR "PINGTI_CUDA=ON, but no CUDA compiler was found: put nvcc on PATH or set CUDACXX")
  else()
    message(STATUS "no CUDA found, building the CPU worker")
  endif()
endif()
if(PINGTI_HAVE_CUDA)
  # NVIDIA's Python packages keep NCCL beside the toolkit, without the name that linkers look for.
  set(beside ${CUDAToolkit_LIBRARY_DIR}/../../nccl)
  find_path(PINGTI_NCCL_INCLUDE_DIR nccl.h HINTS ${CUDAToolkit_INCLUDE_DIRS} ${beside}/include)
  find_library(PINGTI_NCCL_LIBRARY NAMES nccl libnccl.so.2
    HINTS ${CUDAToolkit_LIBRARY_DIR} ${beside}/lib)
  if(PINGTI_NCCL_INCLUDE_DIR AND PINGTI_NCCL_LIBRARY)
    set(PINGTI_HAVE_NCCL ON)
    add_library(NCCL::nccl UNKNOWN IMPORTED)
    set_target_properties(NCCL::nccl PROPERTIES
      IMPORTED_LOCATION ${PINGTI_NCCL_LIBRARY}
      INTERFACE_INCLUDE_DIRECTORIES ${PINGTI_NCCL_INCLUDE_DIR}
      INTERFACE_LINK_LIBRARIES CUDA::cudart_static)
  else()
    message(STATUS "no NCCL found, building a worker for one GPU")
  endif()
endif()
