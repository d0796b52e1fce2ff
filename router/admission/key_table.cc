// See key_table.h. yaml-cpp's exceptions end here.
#include "router/admission/key_table.h"

#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <set>
#include <utility>
#include <vector>

#include "common/base/edit_distance.h"
#include "common/base/sha256.h"
#include "common/base/status_macros.h"
#include "common/base/strings.h"

namespace pingti::router {
namespace {

constexpr size_t kMaxNameBytes = 64;
constexpr std::string_view kNotInKeys = " \t\"'[]{}";  // one a line: what YAML is written with

absl::Status AtLine(int line, std::string_view message) {
  return absl::InvalidArgumentError(Concat("API keys, line ", line, ": ", message));
}

std::string_view TrimBlanks(std::string_view text) {
  const size_t first = text.find_first_not_of(" \t\r");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t\r") - first + 1);
}

// Takes the next line off `text`.
std::string_view TakeLine(std::string_view* text) {
  const size_t end = text->find('\n');
  const std::string_view line = TrimBlanks(text->substr(0, end));
  text->remove_prefix(end == std::string_view::npos ? text->size() : end + 1);
  return line;
}

template <typename Number>
bool ReadNumber(std::string_view text, Number* value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *value);
  return error == std::errc() && end == text.data() + text.size();
}

// ---- one key a line

// Takes "max_priority=N" off the end of a line. Errors: InvalidArgument.
absl::StatusOr<std::optional<int32_t>> TakeMaxPriority(std::string_view* line) {
  constexpr std::string_view kName = "max_priority=";
  const size_t blank = line->find_last_of(" \t");
  if (blank == std::string_view::npos || !line->substr(blank + 1).starts_with(kName)) {
    return std::optional<int32_t>();
  }
  const std::string_view digits = line->substr(blank + 1 + kName.size());
  int32_t value = 0;
  if (!ReadNumber(digits, &value)) {
    return absl::InvalidArgumentError(
        Concat("max_priority is '", digits, "', expected a whole number"));
  }
  *line = TrimBlanks(line->substr(0, blank));
  return std::optional<int32_t>(value);
}

absl::Status AddKeyOfLine(std::string_view line, int line_number, KeyTable* table) {
  const absl::StatusOr<std::optional<int32_t>> max_priority = TakeMaxPriority(&line);
  if (!max_priority.ok()) {
    return AtLine(line_number, std::string(max_priority.status().message()));
  }
  const size_t colon = line.find(':');
  const std::string_view key =
      TrimBlanks(colon == std::string_view::npos ? line : line.substr(colon + 1));
  const std::string name = colon == std::string_view::npos
                               ? Concat("key-", table->names.size() + 1)
                               : std::string(TrimBlanks(line.substr(0, colon)));
  if (key.empty() || name.empty()) return AtLine(line_number, "expected KEY or NAME:KEY");
  // The key itself is not repeated.
  if (key.find_first_of(kNotInKeys) != std::string_view::npos) {
    return AtLine(line_number,
                  "expected KEY or NAME:KEY, the key without blanks, quotes, brackets and braces; "
                  "YAML begins with 'keys:'");
  }
  if (!table->names.emplace(ToHex(Sha256(key)), name).second) {
    return AtLine(line_number, "the same key stands there twice");
  }
  Tenant& tenant = table->tenants[name];
  tenant.name = name;
  if (max_priority->has_value()) tenant.max_priority = *max_priority;
  return absl::OkStatus();
}

absl::Status AddLines(std::string_view text, KeyTable* table) {
  for (int line_number = 1; !text.empty(); ++line_number) {
    const std::string_view line = TakeLine(&text);
    if (line.empty() || line.front() == '#') continue;
    PINGTI_RETURN_IF_ERROR(AddKeyOfLine(line, line_number, table));
  }
  return absl::OkStatus();
}

// ---- YAML

int LineOf(const YAML::Node& node) { return node.Mark().line + 1; }

struct YamlKey {
  Tenant tenant;
  std::vector<std::string> hashes;
};

absl::Status BadValue(std::string_view field, const YAML::Node& value, std::string_view expected) {
  const std::string found = value.IsScalar() ? value.Scalar() : "a list or a mapping";
  return AtLine(LineOf(value), Concat(field, " is '", found, "', expected ", expected));
}

template <typename Number>
absl::Status ReadLimit(std::string_view field, const YAML::Node& value, Number* limit) {
  if (value.IsScalar() && ReadNumber(value.Scalar(), limit)) return absl::OkStatus();
  return BadValue(field, value, "a whole number, 0 for no limit");
}

bool IsLabel(std::string_view text) {
  const auto is_good = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_' || c == '.';
  };
  return !text.empty() && text.size() <= kMaxNameBytes &&
         std::all_of(text.begin(), text.end(), is_good);
}

absl::Status ReadLabel(std::string_view field, const YAML::Node& value, std::string* label) {
  if (!value.IsScalar() || !IsLabel(value.Scalar())) {
    return BadValue(field, value,
                    Concat("1 to ", kMaxNameBytes, " letters, digits, '-', '_' or '.'"));
  }
  *label = value.Scalar();
  return absl::OkStatus();
}

absl::Status ReadHash(const YAML::Node& value, std::vector<std::string>* hashes) {
  std::string hash = value.IsScalar() ? value.Scalar() : "";
  const bool is_hash =
      hash.size() == 64 && hash.find_first_not_of("0123456789abcdefABCDEF") == std::string::npos;
  // What stands there is not repeated: it may be the key itself.
  if (!is_hash) return AtLine(LineOf(value), "sha256: expected 64 hexadecimal digits");
  for (char& c : hash) c = static_cast<char>(c >= 'A' && c <= 'F' ? c + 32 : c);
  hashes->push_back(std::move(hash));
  return absl::OkStatus();
}

absl::Status ReadHashes(std::string_view, const YAML::Node& value, YamlKey* key) {
  if (!value.IsSequence()) return ReadHash(value, &key->hashes);
  for (const YAML::Node& item : value) PINGTI_RETURN_IF_ERROR(ReadHash(item, &key->hashes));
  return absl::OkStatus();
}

absl::Status ReadWeight(std::string_view field, const YAML::Node& value, YamlKey* key) {
  double& weight = key->tenant.weight;
  if (value.IsScalar() && ReadNumber(value.Scalar(), &weight) && weight >= 0.01 && weight <= 100) {
    return absl::OkStatus();
  }
  return BadValue(field, value, "a number from 0.01 to 100");
}

absl::Status ReadMaxPriority(std::string_view field, const YAML::Node& value, YamlKey* key) {
  int32_t priority = 0;
  if (!value.IsScalar() || !ReadNumber(value.Scalar(), &priority)) {
    return BadValue(field, value, "a whole number");
  }
  key->tenant.max_priority = priority;
  return absl::OkStatus();
}

absl::Status ReadMaxConcurrent(std::string_view field, const YAML::Node& value, YamlKey* key) {
  return ReadLimit(field, value, &key->tenant.max_concurrent.emplace());
}

struct YamlField {
  std::string_view name;
  absl::Status (*read)(std::string_view field, const YAML::Node& value, YamlKey* key);
};
constexpr YamlField kFields[] = {
    {"name", [](std::string_view field, const YAML::Node& value,
                YamlKey* key) { return ReadLabel(field, value, &key->tenant.name); }},
    {"sha256", &ReadHashes},
    {"class", [](std::string_view field, const YAML::Node& value,
                 YamlKey* key) { return ReadLabel(field, value, &key->tenant.tenant_class); }},
    {"requests_per_minute",
     [](std::string_view field, const YAML::Node& value, YamlKey* key) {
       return ReadLimit(field, value, &key->tenant.requests_per_minute);
     }},
    {"tokens_per_minute",
     [](std::string_view field, const YAML::Node& value, YamlKey* key) {
       return ReadLimit(field, value, &key->tenant.tokens_per_minute);
     }},
    {"max_concurrent", &ReadMaxConcurrent},
    {"max_priority", &ReadMaxPriority},
    {"weight", &ReadWeight},
};

absl::StatusOr<YamlKey> ReadYamlKey(const YAML::Node& node) {
  if (!node.IsMap()) return AtLine(LineOf(node), "expected the fields of a key");
  YamlKey key;
  std::set<std::string> seen;
  for (const auto& entry : node) {
    const std::string name = entry.first.IsScalar() ? entry.first.Scalar() : "";
    const auto* field = std::find_if(std::begin(kFields), std::end(kFields),
                                     [&](const YamlField& known) { return known.name == name; });
    if (field == std::end(kFields)) {
      std::vector<std::string_view> known;
      for (const YamlField& one : kFields) known.push_back(one.name);
      const std::optional<std::string_view> nearest = NearestName(name, known);
      return AtLine(LineOf(entry.first),
                    Concat("unknown field '", name, "'",
                           nearest ? Concat("; did you mean '", *nearest, "'?") : std::string()));
    }
    if (!seen.insert(name).second) {
      return AtLine(LineOf(entry.first), Concat("'", name, "' is given twice"));
    }
    PINGTI_RETURN_IF_ERROR(field->read(name, entry.second, &key));
  }
  if (key.tenant.name.empty()) return AtLine(LineOf(node), "the key has no 'name'");
  if (key.hashes.empty()) {
    return AtLine(LineOf(node), Concat("key '", key.tenant.name, "' has no 'sha256'"));
  }
  return key;
}

absl::Status AddYamlKeys(const YAML::Node& root, KeyTable* table) {
  if (!root.IsMap() || root.size() != 1 || !root["keys"].IsDefined()) {
    return AtLine(1, "expected 'keys:' and nothing beside it");
  }
  const YAML::Node keys = root["keys"];
  if (keys.IsNull()) return absl::OkStatus();
  if (!keys.IsSequence()) return AtLine(LineOf(keys), "expected a list of keys");
  std::set<std::string> classes;
  for (const auto& [name, tenant] : table->tenants) classes.insert(tenant.tenant_class);
  for (const YAML::Node& node : keys) {
    PINGTI_ASSIGN_OR_RETURN(const YamlKey key, ReadYamlKey(node));
    const std::string& name = key.tenant.name;
    if (!table->tenants.emplace(name, key.tenant).second) {
      return AtLine(LineOf(node), Concat("the name '", name,
                                         "' is given twice; sha256 may be a list of several keys"));
    }
    for (const std::string& hash : key.hashes) {
      if (!table->names.emplace(hash, name).second) {
        return AtLine(LineOf(node), Concat("a key of '", name, "' stands there twice"));
      }
    }
    classes.insert(key.tenant.tenant_class);
    if (classes.size() > KeyTable::kMaxClasses) {
      return AtLine(LineOf(node), Concat("class '", key.tenant.tenant_class,
                                         "' is one too many, expected at most ",
                                         KeyTable::kMaxClasses, " classes"));
    }
  }
  return absl::OkStatus();
}

// Whether the first line is the list of keys, or the mapping in braces that has it: what follows
// "keys:" after a blank is no key of one who is called so.
bool IsYaml(std::string_view text) {
  while (!text.empty()) {
    const std::string_view line = TakeLine(&text);
    if (line.empty() || line.front() == '#' || line == "---") continue;
    if (line.front() == '{') return true;
    return line.starts_with("keys:") && (line.size() == 5 || line[5] == ' ' || line[5] == '\t');
  }
  return false;
}

}  // namespace

absl::Status AddKeys(std::string_view text, KeyTable* table) {
  if (!IsYaml(text)) return AddLines(text, table);
  try {
    return AddYamlKeys(YAML::Load(std::string(text)), table);
  } catch (const YAML::Exception& error) {
    return AtLine(error.mark.line + 1, error.msg);
  }
}

}  // namespace pingti::router
