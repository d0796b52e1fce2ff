# Helpers to declare a folder's library, a program, a unit test and a fuzzer the same way everywhere.

# pingti_library(NAME worker_cache SRCS a.cc DEPS pingti::common_base absl::status)
# Declares target pingti_<NAME> with alias pingti::<NAME>. DEPS are PUBLIC. No SRCS: header-only.
function(pingti_library)
  cmake_parse_arguments(ARG "" "NAME" "SRCS;DEPS;PRIVATE_DEPS" ${ARGN})
  set(target pingti_${ARG_NAME})
  if(ARG_SRCS)
    add_library(${target} STATIC ${ARG_SRCS})
    target_include_directories(${target} PUBLIC ${PROJECT_SOURCE_DIR})
    target_link_libraries(${target} PUBLIC ${ARG_DEPS} pingti_sanitizer
      PRIVATE ${ARG_PRIVATE_DEPS} pingti_warnings)
  else()
    add_library(${target} INTERFACE)
    target_include_directories(${target} INTERFACE ${PROJECT_SOURCE_DIR})
    target_link_libraries(${target} INTERFACE ${ARG_DEPS} pingti_sanitizer)
  endif()
  add_library(pingti::${ARG_NAME} ALIAS ${target})
endfunction()

# pingti_executable(NAME pingti-router SRCS main.cc DEPS ... [INSTALL])
function(pingti_executable)
  cmake_parse_arguments(ARG "INSTALL" "NAME" "SRCS;DEPS" ${ARGN})
  add_executable(${ARG_NAME} ${ARG_SRCS})
  target_include_directories(${ARG_NAME} PRIVATE ${PROJECT_SOURCE_DIR})
  target_link_libraries(${ARG_NAME} PRIVATE ${ARG_DEPS} pingti_warnings pingti_sanitizer)
  set_target_properties(${ARG_NAME} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
  if(ARG_INSTALL)
    install(TARGETS ${ARG_NAME} RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
  endif()
endfunction()

# pingti_test(NAME worker_cache_test SRCS block_pool_test.cc DEPS pingti::worker_cache)
# One GoogleTest program, one CTest entry; golden files are found through tests/testing/source_dir.h.
function(pingti_test)
  cmake_parse_arguments(ARG "" "NAME;TIMEOUT" "SRCS;DEPS" ${ARGN})
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 120)
  endif()
  if(PINGTI_SANITIZER)  # its code takes several times as long
    math(EXPR ARG_TIMEOUT "${ARG_TIMEOUT} * 5")
  endif()
  add_executable(${ARG_NAME} ${ARG_SRCS})
  target_include_directories(${ARG_NAME} PRIVATE ${PROJECT_SOURCE_DIR})
  target_link_libraries(${ARG_NAME} PRIVATE ${ARG_DEPS} pingti::testing_source_dir
    GTest::gtest GTest::gmock GTest::gtest_main pingti_warnings pingti_sanitizer
    pingti_test_sanitizer)
  # A test runs once per build: optimising its own code costs more than it saves, but for those
  # whose references compute much.
  target_compile_options(${ARG_NAME} PRIVATE $<$<CONFIG:Release>:-O1>)
  if(NOT ARG_NAME MATCHES "^worker_(backend|model|quant|engine_real)")
    target_compile_options(${ARG_NAME} PRIVATE $<$<CONFIG:Sanitized>:-O0>)
  endif()
  set_target_properties(${ARG_NAME} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
  add_test(NAME ${ARG_NAME} COMMAND ${ARG_NAME})
  set_tests_properties(${ARG_NAME} PROPERTIES TIMEOUT ${ARG_TIMEOUT})
endfunction()

# pingti_fuzzer(NAME gguf_fuzzer SRCS gguf_fuzzer.cc DEPS ...): libFuzzer program, clang only.
function(pingti_fuzzer)
  cmake_parse_arguments(ARG "" "NAME" "SRCS;DEPS" ${ARGN})
  if(NOT PINGTI_BUILD_FUZZERS)
    return()
  endif()
  add_executable(${ARG_NAME} ${ARG_SRCS})
  target_include_directories(${ARG_NAME} PRIVATE ${PROJECT_SOURCE_DIR})
  target_link_libraries(${ARG_NAME} PRIVATE ${ARG_DEPS} pingti_warnings)
  target_compile_options(${ARG_NAME} PRIVATE -fsanitize=fuzzer,address,undefined)
  target_link_options(${ARG_NAME} PRIVATE -fsanitize=fuzzer,address,undefined)
  set_target_properties(${ARG_NAME} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/fuzz)
endfunction()

# pingti_bench(NAME engine_step_bench SRCS step_bench.cc DEPS ...): a program that scripts/bench.sh runs.
function(pingti_bench)
  cmake_parse_arguments(ARG "" "NAME" "SRCS;DEPS" ${ARGN})
  add_executable(${ARG_NAME} ${ARG_SRCS})
  target_include_directories(${ARG_NAME} PRIVATE ${PROJECT_SOURCE_DIR})
  target_link_libraries(${ARG_NAME} PRIVATE ${ARG_DEPS} pingti_warnings pingti_sanitizer)
  set_target_properties(${ARG_NAME} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bench)
endfunction()
