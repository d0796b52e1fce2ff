// Any bytes as the events of a watch: no crash; what cannot be read is an error; the version is
// empty after an ERROR alone; and the same bytes say the same in pieces of any size.
#include <fuzzer/FuzzedDataProvider.h>

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "router/discovery/watch_events.h"

namespace pingti::router {
namespace {

void Require(bool condition) {
  if (!condition) __builtin_trap();
}

// All that a watch has said by its end.
struct Heard {
  absl::Status status;
  std::string version = "1";
  std::vector<std::vector<WorkerAddress>> workers;  // after each event
  friend bool operator==(const Heard&, const Heard&) = default;
};

Heard Hear(std::string_view bytes, const std::vector<uint8_t>& sizes) {
  Heard heard;
  EndpointSlices slices("grpc", "zone-a");
  WatchEvents events(&slices, &heard.version, [&] { heard.workers.push_back(slices.Take()); });
  for (size_t i = 0; !bytes.empty() && heard.status.ok(); ++i) {
    const size_t size = i < sizes.size() ? std::min<size_t>(sizes[i], bytes.size()) : bytes.size();
    heard.status = events.Feed(bytes.substr(0, size));
    bytes.remove_prefix(size);
  }
  return heard;
}

void RequireSound(const Heard& heard) {
  const absl::Status& status = heard.status;
  const bool is_error_event = absl::IsOutOfRange(status) || absl::IsUnavailable(status);
  Require(status.ok() || absl::IsInvalidArgument(status) || is_error_event);
  Require(heard.version.empty() == is_error_event);
  for (const std::vector<WorkerAddress>& workers : heard.workers) {
    Require(std::is_sorted(workers.begin(), workers.end()));
  }
}

}  // namespace
}  // namespace pingti::router

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace pingti::router;
  if (size > 8192) return 0;
  FuzzedDataProvider input(data, size);
  const auto sizes = input.ConsumeBytes<uint8_t>(input.ConsumeIntegralInRange<size_t>(0, 16));
  const std::string bytes = input.ConsumeRemainingBytesAsString();
  const Heard whole = Hear(bytes, {});
  RequireSound(whole);
  Require(Hear(bytes, sizes) == whole);
  return 0;
}
