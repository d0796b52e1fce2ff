// The order of sources and what each may contain. YAML reading is in yaml_file.cc, texts for people
// in print.cc.
#include "common/config/load.h"

#include <algorithm>
#include <map>
#include <vector>

#include "absl/status/status.h"
#include "common/base/edit_distance.h"
#include "common/base/status_macros.h"
#include "common/base/version.h"
#include "common/config/yaml_file.h"

namespace pingti::config {
namespace {

constexpr std::string_view kPrefix = "PINGTI_";
constexpr std::string_view kConfigVariable = "PINGTI_CONFIG";

using Environment = std::map<std::string, std::string, std::less<>>;

// What the command line asks for besides settings.
struct CommandLine {
  struct Setting {
    Key* key;
    std::vector<std::string> texts;
  };
  std::vector<Setting> settings;
  std::optional<std::string> config_path;
  bool help = false;
  bool version = false;
  bool print_config = false;
};

std::vector<std::string> SplitCommas(std::string_view text) {
  std::vector<std::string> items;
  while (!text.empty()) {
    const size_t comma = text.find(',');
    if (comma != 0) items.emplace_back(text.substr(0, comma));
    text.remove_prefix(comma == std::string_view::npos ? text.size() : comma + 1);
  }
  return items;
}

std::vector<std::string> TextsOf(const Key& key, std::string_view text) {
  if (key.is_list()) return SplitCommas(text);
  return {std::string(text)};
}

std::string Suggestion(std::string_view name, const std::vector<std::string>& known) {
  const std::vector<std::string_view> candidates(known.begin(), known.end());
  const std::optional<std::string_view> nearest = NearestName(name, candidates);
  return nearest ? Concat("; did you mean '", *nearest, "'?") : std::string();
}

absl::Status UnknownFlag(const Schema& schema, std::string_view flag) {
  std::vector<std::string> known = {"--config", "--help", "--version", "--print-config"};
  for (const auto& key : schema.keys()) known.push_back(key->flag());
  return absl::InvalidArgumentError(Concat("unknown flag '", flag, "'", Suggestion(flag, known)));
}

Key* FindByFlag(const Schema& schema, std::string_view flag) {
  for (const auto& key : schema.keys()) {
    if (key->flag() == flag) return key.get();
  }
  return nullptr;
}

// Reads argv[1..]; a cursor over "--flag value" and "--flag=value".
class FlagReader {
 public:
  FlagReader(const Schema& schema, int argc, const char* const* argv)
      : schema_(schema), arguments_(argv + 1, argv + argc) {}

  absl::StatusOr<CommandLine> Read() {
    while (next_ < arguments_.size()) PINGTI_RETURN_IF_ERROR(ReadOne(arguments_[next_++]));
    return std::move(result_);
  }

 private:
  absl::Status ReadOne(std::string_view argument) {
    if (argument.substr(0, 2) != "--" || argument.size() == 2) {
      return absl::InvalidArgumentError(
          Concat("unexpected argument '", argument, "': settings are given as --name value"));
    }
    const size_t equals = argument.find('=');
    const std::string_view flag = argument.substr(0, equals);
    std::optional<std::string_view> value;
    if (equals != std::string_view::npos) value = argument.substr(equals + 1);
    for (const auto& [name, wanted] : {std::pair<std::string_view, bool*>{"--help", &result_.help},
                                       {"--version", &result_.version},
                                       {"--print-config", &result_.print_config}}) {
      if (flag != name) continue;
      if (value) return absl::InvalidArgumentError(Concat("flag ", flag, " takes no value"));
      *wanted = true;
      return absl::OkStatus();
    }
    Key* const key = FindByFlag(schema_, flag);
    if (key == nullptr && flag != "--config") return UnknownFlag(schema_, flag);
    if (!value && key != nullptr && key->is_bool()) value = BoolAfterFlag();
    if (!value && next_ < arguments_.size()) value = arguments_[next_++];
    if (!value) return absl::InvalidArgumentError(Concat("flag ", flag, " needs a value"));
    return key == nullptr ? SetConfigPath(*value) : AddSetting(key, *value);
  }

  // "--flag" alone means true; "--flag false" has a value like any other setting.
  std::string_view BoolAfterFlag() {
    if (next_ < arguments_.size() && ParseBool(std::string(arguments_[next_]))) {
      return arguments_[next_++];
    }
    return "true";
  }

  absl::Status SetConfigPath(std::string_view value) {
    if (result_.config_path) return absl::InvalidArgumentError("flag --config is given twice");
    result_.config_path = std::string(value);
    return absl::OkStatus();
  }

  absl::Status AddSetting(Key* key, std::string_view value) {
    for (CommandLine::Setting& earlier : result_.settings) {
      if (earlier.key != key) continue;
      if (!key->is_list()) {
        return absl::InvalidArgumentError(Concat("flag ", key->flag(), " is given twice"));
      }
      for (std::string& text : TextsOf(*key, value)) earlier.texts.push_back(std::move(text));
      return absl::OkStatus();
    }
    result_.settings.push_back({key, TextsOf(*key, value)});
    return absl::OkStatus();
  }

  const Schema& schema_;
  const std::vector<std::string_view> arguments_;
  size_t next_ = 0;
  CommandLine result_;
};

// Kubernetes gives every pod variables for the Services beside it, in the form of Docker links: a
// Service named pingti-router makes PINGTI_ROUTER_SERVICE_HOST, PINGTI_ROUTER_SERVICE_PORT[_NAME],
// PINGTI_ROUTER_PORT=tcp://10.0.0.1:80 and PINGTI_ROUTER_PORT_80_TCP[_ADDR|_PORT|_PROTO].
bool IsKubernetesServiceVariable(std::string_view name, std::string_view value) {
  const auto ends_with = [&](std::string_view end) { return name.ends_with(end); };
  if (ends_with("_SERVICE_HOST") || ends_with("_SERVICE_PORT")) return true;
  if (name.find("_SERVICE_PORT_") != std::string_view::npos) return true;
  for (const std::string_view protocol : {"tcp", "udp", "sctp"}) {
    if (value.substr(0, protocol.size()) == protocol &&
        value.substr(protocol.size()).substr(0, 3) == "://") {
      return name.find("_PORT") != std::string_view::npos;
    }
  }
  const size_t port = name.find("_PORT_");
  return port != std::string_view::npos &&
         (ends_with("_ADDR") || ends_with("_PORT") || ends_with("_PROTO")) &&
         name.find_first_of("0123456789", port) == port + 6;
}

Environment ReadEnvironment(const char* const* environment) {
  Environment variables;
  for (; environment != nullptr && *environment != nullptr; ++environment) {
    const std::string_view entry(*environment);
    const size_t equals = entry.find('=');
    if (equals == std::string_view::npos) continue;
    const std::string_view name = entry.substr(0, equals);
    const std::string_view value = entry.substr(equals + 1);
    if (name.starts_with(kPrefix) && IsKubernetesServiceVariable(name, value)) continue;
    variables.emplace(name, value);
  }
  return variables;
}

absl::Status CheckVariablesAreKnown(const Schema& schema, const Environment& environment) {
  std::vector<std::string> known = {std::string(kConfigVariable)};
  for (const auto& key : schema.keys()) {
    known.insert(known.end(), key->env_names().begin(), key->env_names().end());
  }
  for (auto it = environment.lower_bound(kPrefix);
       it != environment.end() && it->first.starts_with(kPrefix); ++it) {
    bool found = false;
    for (const std::string& name : known) found = found || name == it->first;
    if (!found) {
      return absl::InvalidArgumentError(
          Concat("unknown environment variable '", it->first, "'", Suggestion(it->first, known)));
    }
  }
  return absl::OkStatus();
}

// Sets the key from its variables. True when one was there.
absl::StatusOr<bool> ApplyVariables(Key& key, const Environment& environment) {
  const std::string* used_name = nullptr;
  const std::string* used_value = nullptr;
  for (const std::string& name : key.env_names()) {
    const auto found = environment.find(name);
    if (found == environment.end()) continue;
    if (used_value != nullptr && *used_value != found->second) {
      return absl::InvalidArgumentError(Concat("environment variables ", *used_name, "='",
                                               *used_value, "' and ", name, "='", found->second,
                                               "' both set ", key.name(), ": set one of them"));
    }
    used_name = &name;
    used_value = &found->second;
  }
  if (used_value == nullptr) return false;
  PINGTI_RETURN_IF_ERROR(
      key.Set(TextsOf(key, *used_value), Concat("environment variable ", *used_name)));
  return true;
}

// Empty: no file is named.
std::string PathOf(const CommandLine& command_line, const Environment& variables) {
  if (command_line.config_path) return *command_line.config_path;
  const auto found = variables.find(kConfigVariable);
  return found == variables.end() ? std::string() : found->second;
}

}  // namespace

absl::StatusOr<std::string> ConfigFile(const Schema& schema, int argc, const char* const* argv,
                                       const char* const* environment) {
  PINGTI_ASSIGN_OR_RETURN(const CommandLine command_line, FlagReader(schema, argc, argv).Read());
  return PathOf(command_line, ReadEnvironment(environment));
}

absl::StatusOr<std::optional<std::string>> Load(Schema& schema, int argc, const char* const* argv,
                                                const char* const* environment) {
  PINGTI_ASSIGN_OR_RETURN(CommandLine command_line, FlagReader(schema, argc, argv).Read());
  if (command_line.help) return Help(schema);
  if (command_line.version) return Concat(schema.program(), " ", Version(), "\n");

  const Environment variables = ReadEnvironment(environment);
  std::vector<const Key*> set;
  const bool has_file = command_line.config_path || variables.contains(kConfigVariable);
  if (has_file) {
    PINGTI_ASSIGN_OR_RETURN(set, ApplyYamlFile(schema, PathOf(command_line, variables)));
  }
  PINGTI_RETURN_IF_ERROR(CheckVariablesAreKnown(schema, variables));
  for (const auto& key : schema.keys()) {
    PINGTI_ASSIGN_OR_RETURN(const bool applied, ApplyVariables(*key, variables));
    if (applied) set.push_back(key.get());
  }
  for (const CommandLine::Setting& setting : command_line.settings) {
    PINGTI_RETURN_IF_ERROR(setting.key->Set(setting.texts, Concat("flag ", setting.key->flag())));
    set.push_back(setting.key);
  }
  if (command_line.print_config) return PrintConfig(schema);
  for (const auto& key : schema.keys()) {
    if (!key->required()) continue;
    const bool found = std::find(set.begin(), set.end(), key.get()) != set.end();
    if (found && key->Value() == key->default_value()) {
      return absl::InvalidArgumentError(Concat(key->name(), " is empty: expected ", key->type()));
    }
    if (!found) {
      return absl::InvalidArgumentError(Concat(key->name(), " is not set: give ", key->flag(), ", ",
                                               key->env_names()[0], " or '", key->name(),
                                               ":' in the file of --config"));
    }
  }
  return std::optional<std::string>();
}

}  // namespace pingti::config
