// Any JSON as EndpointSlices that are put in, removed and listed anew, a line each: no crash; what
// cannot be read is an error, and what is taken has an address with a port and stands once.
//
// A line is put in, unless it begins with '-' (removed) or is "clear".
#include <algorithm>
#include <boost/json.hpp>
#include <string_view>

#include "router/discovery/endpoint_slices.h"

namespace pingti::router {
namespace {

void Require(bool condition) {
  if (!condition) __builtin_trap();
}

void TakeLine(std::string_view line, EndpointSlices* slices) {
  if (line == "clear") return slices->Clear();
  const bool removes = line.starts_with('-');
  if (removes) line.remove_prefix(1);
  boost::system::error_code error;
  const boost::json::value value = boost::json::parse({line.data(), line.size()}, error);
  if (error) return;
  const absl::Status status = removes ? slices->Remove(value) : slices->Put(value);
  Require(status.ok() || absl::IsInvalidArgument(status));
}

void RequireSound(const std::vector<WorkerAddress>& workers) {
  Require(std::is_sorted(workers.begin(), workers.end()));
  for (size_t i = 0; i < workers.size(); ++i) {
    Require(i == 0 || workers[i].address != workers[i - 1].address);
    const size_t colon = workers[i].address.rfind(':');
    Require(colon != std::string::npos && colon > 0 && colon + 1 < workers[i].address.size());
  }
}

}  // namespace
}  // namespace pingti::router

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace pingti::router;
  if (size > 8192) return 0;
  std::string_view text(reinterpret_cast<const char*>(data), size);
  EndpointSlices slices("grpc", "zone-a");
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    TakeLine(text.substr(0, end), &slices);
    RequireSound(slices.Take());
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return 0;
}
