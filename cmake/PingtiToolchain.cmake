# Compiler-wide settings: ccache, warnings as an interface target, sanitizers.

find_program(PINGTI_CCACHE ccache)
if(PINGTI_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${PINGTI_CCACHE})
  set(CMAKE_CUDA_COMPILER_LAUNCHER ${PINGTI_CCACHE})
endif()

add_library(pingti_warnings INTERFACE)
target_compile_options(pingti_warnings INTERFACE
  -Wall -Wextra -Wshadow -Wnon-virtual-dtor -Woverloaded-virtual -Wno-unused-parameter
  # g++ 12 sees overlaps in "text" + std::string that are not there (GCC bug 105651).
  $<$<CXX_COMPILER_ID:GNU>:-Wno-restrict>
  # In a unity build every source is an included file, whose local types g++ takes for shared ones.
  $<$<AND:$<CXX_COMPILER_ID:GNU>,$<BOOL:${CMAKE_UNITY_BUILD}>>:-Wno-subobject-linkage>
  $<$<CXX_COMPILER_ID:Clang>:-Wthread-safety>)

# A build for the sanitizers: enough optimisation for tests in time, and line numbers for reports.
set(CMAKE_CXX_FLAGS_SANITIZED "-O1 -g1 -DNDEBUG")

add_library(pingti_sanitizer INTERFACE)
add_library(pingti_test_sanitizer INTERFACE)
if(PINGTI_SANITIZER STREQUAL "address")
  target_compile_options(pingti_sanitizer INTERFACE
    -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer)
  target_link_options(pingti_sanitizer INTERFACE -fsanitize=address,undefined)
  # The tests' own code goes without the checks that take a quarter of the time to compile it; they
  # stay in all that is tested.
  target_compile_options(pingti_test_sanitizer INTERFACE
    -fno-sanitize=null,vptr,object-size,alignment)
elseif(PINGTI_SANITIZER STREQUAL "thread")
  target_compile_options(pingti_sanitizer INTERFACE -fsanitize=thread -fno-omit-frame-pointer)
  target_link_options(pingti_sanitizer INTERFACE -fsanitize=thread)
elseif(NOT PINGTI_SANITIZER STREQUAL "")
  message(FATAL_ERROR "PINGTI_SANITIZER is '${PINGTI_SANITIZER}'; expected empty, address or thread")
endif()

# A fuzzer sees only code that was built to be watched.
if(PINGTI_BUILD_FUZZERS)
  target_compile_options(pingti_sanitizer INTERFACE -fsanitize=fuzzer-no-link,address,undefined)
  target_link_options(pingti_sanitizer INTERFACE -fsanitize=address,undefined)
endif()
