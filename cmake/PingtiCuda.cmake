# Decides whether the CUDA kernels are part of this build: sets PINGTI_HAVE_CUDA.

set(PINGTI_HAVE_CUDA OFF)
if(NOT PINGTI_CUDA STREQUAL "OFF")
  include(CheckLanguage)
  check_language(CUDA)
  if(CMAKE_CUDA_COMPILER)
    set(PINGTI_HAVE_CUDA ON)
  elseif(PINGTI_CUDA STREQUAL "ON")
    message(FATAL_ERROR "PINGTI_CUDA=ON, but no CUDA compiler was found: put nvcc on PATH or set CUDACXX")
  else()
    message(STATUS "no CUDA found, building the CPU worker")
  endif()
endif()
