// Takes up settings while the router runs: looks at the files they come from, reads them anew when
// they change, and puts them into force where they may change.
//
// A file with an error changes nothing. What is under way goes on as it began. Read next: main.cc,
// which calls Look on a ticker.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "router/router_config.h"

namespace pingti::router {

// The file of --config, and what the environment and the flags say on top of it. Thread-compatible.
class SettingsReload {
 public:
  // Puts settings into force: all of them, or none and an error.
  using Apply = std::function<absl::Status(const RouterConfig& config)>;

  // As main has them; both must outlive this. The settings in force are those that they give now.
  SettingsReload(int argc, const char* const* argv, const char* const* environment, Apply apply);

  // Reads the file again if it has changed, or if it is `asked` to. OK also when there is nothing
  // to do; an error stays the answer until the file is mended.
  absl::Status Look(bool asked);

 private:
  absl::Status Read();

  const int argc_;
  const char* const* const argv_;
  const char* const* const environment_;
  const Apply apply_;
  std::string file_;   // empty: none, and only the environment and flags count, which stay
  std::string stamp_;  // of the file, when it was last read
  std::map<std::string, std::string> values_;  // in force, by setting; also of those that are not
  absl::Status status_;                        // of the last reading
};

}  // namespace pingti::router
