// See client_ids.h.
#include "router/api/client_ids.h"

#include <algorithm>

namespace pingti::router {
namespace {

constexpr size_t kMaxRequestId = 128;

bool IsAlnum(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

bool IsRequestId(std::string_view text) {
  constexpr std::string_view kOther = "-_.:/+=@~";
  return !text.empty() && text.size() <= kMaxRequestId &&
         std::all_of(text.begin(), text.end(), [&](char c) {
           return IsAlnum(c) || kOther.find(c) != std::string_view::npos;
         });
}

// Lower-case hex digits that are not all 0.
bool IsHexId(std::string_view text) {
  return text.find_first_not_of("0123456789abcdef") == std::string_view::npos &&
         text.find_first_not_of('0') != std::string_view::npos;
}

// "00-<32 hex>-<16 hex>-<2 hex>".
bool IsTraceParent(std::string_view text) {
  return text.size() == 55 && text.starts_with("00-") && text[35] == '-' && text[52] == '-' &&
         IsHexId(text.substr(3, 32)) && IsHexId(text.substr(36, 16)) &&
         text.substr(53).find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

}  // namespace

ClientIds ReadClientIds(std::string_view request_id, std::string_view trace_parent) {
  ClientIds ids;
  if (IsRequestId(request_id)) ids.request_id = request_id;
  if (IsTraceParent(trace_parent)) ids.trace_parent = trace_parent;
  return ids;
}

}  // namespace pingti::router
