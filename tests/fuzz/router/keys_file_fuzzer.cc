// Any file of API keys: no crash and no exception; an error names the line and repeats no key, and
// what is taken keeps to the bounds that the rest of the router relies on.
#include <string_view>

#include "router/admission/key_table.h"

namespace pingti::router {
namespace {

void Require(bool condition) {
  if (!condition) __builtin_trap();
}

void RequireSound(const KeyTable& table) {
  for (const auto& [hash, name] : table.names) {
    Require(hash.size() == 64);
    Require(table.tenants.contains(name));
  }
  for (const auto& [name, tenant] : table.tenants) {
    Require(!name.empty() && tenant.name == name && !tenant.tenant_class.empty());
    Require(tenant.weight >= 0.01 && tenant.weight <= 100);
  }
}

}  // namespace
}  // namespace pingti::router

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace pingti::router;
  if (size > 4096) return 0;
  KeyTable table;
  const absl::Status status = AddKeys({reinterpret_cast<const char*>(data), size}, &table);
  if (status.ok()) {
    RequireSound(table);
  } else {
    Require(absl::IsInvalidArgument(status));
    Require(status.message().find("line ") != absl::string_view::npos);
  }
  return 0;
}
