# Decides whether the CUDA kernels are part of this build: sets PINGTI_HAVE_CUDA.

set(PINGTI_HAVE_CUDA OFF)
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
