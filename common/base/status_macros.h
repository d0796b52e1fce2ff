// Early return for absl::Status and absl::StatusOr.
#pragma once

#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

// Returns the status of `expr` from the enclosing function unless it is OK.
#define PINGTI_RETURN_IF_ERROR(expr)               \
  do {                                             \
    absl::Status pingti_status = (expr);           \
    if (!pingti_status.ok()) return pingti_status; \
  } while (false)

#define PINGTI_CONCAT_INNER(a, b) a##b
#define PINGTI_CONCAT(a, b) PINGTI_CONCAT_INNER(a, b)

// PINGTI_ASSIGN_OR_RETURN(auto value, MakeValue()); `lhs` may declare a variable.
#define PINGTI_ASSIGN_OR_RETURN(lhs, expr) \
  PINGTI_ASSIGN_OR_RETURN_IMPL(PINGTI_CONCAT(pingti_or_, __LINE__), lhs, expr)
#define PINGTI_ASSIGN_OR_RETURN_IMPL(tmp, lhs, expr) \
  auto tmp = (expr);                                 \
  if (!tmp.ok()) return std::move(tmp).status();     \
  lhs = std::move(tmp).value()
