// A process declares its settings once, as a struct and a schema that points into it; this folder
// does the rest: four sources, checks, --help, --print-config.
//
//   struct WorkerConfig { uint16_t grpc_port = 9001; double gpu_memory_fraction = 0.9; };
//   WorkerConfig config;
//   config::Schema schema("pingti-worker", "Runs one model for pingti routers.");
//   schema.Add("grpc_port", &config.grpc_port, "Port of the gRPC service; 0 takes any free one.");
//   schema.Add("gpu_memory_fraction", &config.gpu_memory_fraction, "Share of GPU memory to use.")
//       .Range(0.05, 0.98).Env("GPU_MEMORY_FRACTION");
//   auto text = config::Load(schema, argc, argv, environ);
//
// A key's default is what the field holds when it is added. Read next: load.h.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "common/base/strings.h"

namespace pingti::config {

// "true", "1", "yes", "on" and their opposites, in any case; nothing for any other text.
std::optional<bool> ParseBool(std::string text);

// One setting. Range, Env, Required, Secret and Reloadable return the key itself, to be chained.
class Key {
 public:
  // What a type knows to do with a field. Lists take any number of texts, everything else one.
  struct Binding {
    std::string type;  // "an integer", for messages
    // Reads the texts into the field. The error says what was expected, not who asked.
    std::function<absl::Status(const std::vector<std::string>&)> parse;
    std::function<std::string()> format;  // the field's value as YAML
    // The field as a number (bytes, milliseconds) and a bound for people; null for other types.
    std::function<double()> number;
    std::function<std::string(double)> format_bound;
    bool is_list = false;
    bool is_bool = false;
    bool is_duration = false;
  };

  Key(std::string name, std::string help, Binding binding);

  // The inclusive range of a number (for sizes in bytes). REQUIRES: a numeric key.
  Key& Range(double least, double most);
  // The inclusive range of a duration. REQUIRES: a duration key.
  Key& Range(std::chrono::milliseconds least, std::chrono::milliseconds most);
  // A further environment variable that sets this key, for names people know from elsewhere.
  Key& Env(std::string name);
  // The key must be set by some source, to something that is not empty, as its default is.
  Key& Required();
  // Its value is never printed.
  Key& Secret();
  // It may change while the process runs, when its file is read again.
  Key& Reloadable();

  const std::string& name() const { return name_; }
  const std::string& help() const { return help_; }
  const std::string& type() const { return binding_.type; }
  const std::string& range() const { return range_; }  // for people; empty without one
  const std::string& default_value() const { return default_value_; }
  const std::vector<std::string>& env_names() const { return env_names_; }
  const std::string& group() const { return group_; }
  std::string flag() const;  // "--max-batch-tokens"
  bool required() const { return required_; }
  bool secret() const { return secret_; }
  bool reloadable() const { return reloadable_; }
  bool is_list() const { return binding_.is_list; }
  bool is_bool() const { return binding_.is_bool; }

  // The value now held, as YAML.
  std::string Value() const { return binding_.format(); }

  // Reads and range-checks a value. Errors: InvalidArgument "max_batch_size from flag
  // --max-batch-size is '0': expected a value in [1, 65536]".
  absl::Status Set(const std::vector<std::string>& texts, std::string_view source);

 private:
  friend class Schema;

  Key& SetRange(double least, double most);
  bool InRange() const;

  std::string name_;
  std::string help_;
  std::string group_;
  Binding binding_;
  std::string default_value_;
  std::vector<std::string> env_names_;
  bool required_ = false;
  bool secret_ = false;
  bool reloadable_ = false;
  std::string range_;
  double least_ = 0;
  double most_ = 0;
};

// The settings of one process, in the order in which they are added. Thread-compatible; the fields
// must outlive it.
class Schema {
 public:
  Schema(std::string program, std::string summary);
  Schema(const Schema&) = delete;
  Schema& operator=(const Schema&) = delete;

  // A heading for the keys that follow.
  void Group(std::string title);

  // Names are snake_case. REQUIRES: not added before.
  Key& Add(std::string name, std::string* field, std::string help);
  Key& Add(std::string name, bool* field, std::string help);
  Key& Add(std::string name, int32_t* field, std::string help);
  Key& Add(std::string name, int64_t* field, std::string help);
  Key& Add(std::string name, uint16_t* field, std::string help);
  Key& Add(std::string name, uint32_t* field, std::string help);
  Key& Add(std::string name, uint64_t* field, std::string help);
  Key& Add(std::string name, double* field, std::string help);
  Key& Add(std::string name, std::chrono::milliseconds* field, std::string help);
  // In YAML a sequence; in the environment and in flags separated by commas. A flag may be
  // repeated.
  Key& Add(std::string name, std::vector<std::string>* field, std::string help);
  // A size in bytes: "100M", "2GiB" (common/base/units.h).
  Key& AddBytes(std::string name, int64_t* field, std::string help);
  // One of a few spellings.
  template <typename Enum>
  Key& AddEnum(const std::string& name, Enum* field,
               std::vector<std::pair<std::string, Enum>> spellings, const std::string& help);

  const std::string& program() const { return program_; }
  const std::string& summary() const { return summary_; }
  const std::vector<std::unique_ptr<Key>>& keys() const { return keys_; }
  // Null when there is none.
  Key* Find(std::string_view name) const;

 private:
  Key& AddKey(std::string name, std::string help, Key::Binding binding);
  Key& AddChoice(std::string name, std::vector<std::string> spellings,
                 std::function<void(size_t)> set, std::function<size_t()> get, std::string help);

  std::string program_;
  std::string summary_;
  std::string group_;
  std::vector<std::unique_ptr<Key>> keys_;
};

template <typename Enum>
Key& Schema::AddEnum(const std::string& name, Enum* field,
                     std::vector<std::pair<std::string, Enum>> spellings, const std::string& help) {
  std::vector<std::string> names;
  std::vector<Enum> values;
  for (auto& [spelling, value] : spellings) {
    names.push_back(spelling);
    values.push_back(value);
  }
  auto set = [field, values](size_t index) { *field = values[index]; };
  auto get = [field, values] {
    size_t index = 0;
    while (index < values.size() && values[index] != *field) ++index;
    return index;
  };
  return AddChoice(name, std::move(names), std::move(set), std::move(get), help);
}

}  // namespace pingti::config
