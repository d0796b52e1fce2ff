// Whose an API key is, and what it may use. A plain value, read from the keys' file (key_table.h).
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

namespace pingti::router {

struct Tenant {
  std::string name{};  // empty: no keys are asked for
  // What metrics are labelled by: few classes, however many keys there are.
  std::string tenant_class = "default";
  double weight = 1;  // of its turns in the queue, beside those of others
  // Of prompts and answers. 0: no limit.
  uint64_t requests_per_minute = 0;
  uint64_t tokens_per_minute = 0;
  // Sequences under way at once, 0: no limit; and the highest priority. Absent: as for all keys.
  std::optional<size_t> max_concurrent{};
  std::optional<int32_t> max_priority{};
};

}  // namespace pingti::router
