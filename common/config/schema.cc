// Keys: how each type of field is read, written and checked.
#include "common/config/schema.h"

#include <cctype>
#include <charconv>
#include <cmath>
#include <limits>
#include <optional>

#include "common/base/check.h"
#include "common/base/edit_distance.h"
#include "common/base/units.h"
#include "common/config/yaml_text.h"

namespace pingti::config {
namespace {

absl::Status Expected(std::string what) { return absl::InvalidArgumentError(std::move(what)); }

// Wraps a parser of one text for keys that are not lists.
std::function<absl::Status(const std::vector<std::string>&)> One(
    std::function<absl::Status(const std::string&)> parse) {
  return [parse = std::move(parse)](const std::vector<std::string>& texts) {
    if (texts.size() != 1) return Expected("a single value");
    return parse(texts[0]);
  };
}

template <typename Number>
bool ParseWhole(const std::string& text, Number* out) {
  const char* const end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, *out);
  return error == std::errc() && rest == end;
}

template <typename Integer>
Key::Binding BindInteger(Integer* field) {
  using Limits = std::numeric_limits<Integer>;
  Key::Binding binding;
  binding.type = sizeof(Integer) < 8
                     ? Concat("an integer in [", Limits::min(), ", ", Limits::max(), "]")
                     : std::string(Limits::is_signed ? "an integer" : "an integer, at least 0");
  binding.parse = One([field, type = binding.type](const std::string& text) {
    Integer value{};
    if (!ParseWhole(text, &value)) return Expected(type);
    *field = value;
    return absl::OkStatus();
  });
  binding.format = [field] { return Concat(*field); };
  binding.number = [field] { return static_cast<double>(*field); };
  binding.format_bound = [](double bound) { return Concat(static_cast<int64_t>(bound)); };
  return binding;
}

}  // namespace

std::optional<bool> ParseBool(std::string text) {
  for (char& c : text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  if (text == "true" || text == "1" || text == "yes" || text == "on") return true;
  if (text == "false" || text == "0" || text == "no" || text == "off") return false;
  return std::nullopt;
}

Key::Key(std::string name, std::string help, Binding binding)
    : name_(std::move(name)), help_(std::move(help)), binding_(std::move(binding)) {
  default_value_ = binding_.format();
  std::string variable = Concat("PINGTI_", name_);
  for (char& c : variable) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  env_names_.push_back(std::move(variable));
}

Key& Key::Range(double least, double most) {
  PINGTI_CHECK_MSG(binding_.number != nullptr && !binding_.is_duration, name_);
  return SetRange(least, most);
}

Key& Key::Range(std::chrono::milliseconds least, std::chrono::milliseconds most) {
  PINGTI_CHECK_MSG(binding_.is_duration, name_);
  return SetRange(static_cast<double>(least.count()), static_cast<double>(most.count()));
}

Key& Key::SetRange(double least, double most) {
  least_ = least;
  most_ = most;
  range_ = Concat("[", binding_.format_bound(least), ", ", binding_.format_bound(most), "]");
  PINGTI_CHECK_MSG(InRange(), name_);  // the default itself
  return *this;
}

bool Key::InRange() const {
  if (range_.empty()) return true;
  const double value = binding_.number();
  return value >= least_ && value <= most_;
}

Key& Key::Env(std::string name) {
  env_names_.push_back(std::move(name));
  return *this;
}

Key& Key::Required() {
  required_ = true;
  return *this;
}

Key& Key::Secret() {
  secret_ = true;
  return *this;
}

Key& Key::Reloadable() {
  reloadable_ = true;
  return *this;
}

std::string Key::flag() const {
  std::string flag = Concat("--", name_);
  for (char& c : flag) {
    if (c == '_') c = '-';
  }
  return flag;
}

absl::Status Key::Set(const std::vector<std::string>& texts, std::string_view source) {
  std::string value;
  for (const std::string& text : texts) {
    if (!value.empty()) value += ',';
    value += text;
  }
  const std::string blame = Concat(name_, " from ", source, " is '", value, "': expected ");
  const absl::Status parsed = binding_.parse(texts);
  if (!parsed.ok()) {
    const std::string expected(parsed.message().data(), parsed.message().size());
    return absl::InvalidArgumentError(Concat(blame, expected));
  }
  if (!InRange()) return absl::InvalidArgumentError(Concat(blame, "a value in ", range_));
  return absl::OkStatus();
}

Schema::Schema(std::string program, std::string summary)
    : program_(std::move(program)), summary_(std::move(summary)) {}

void Schema::Group(std::string title) { group_ = std::move(title); }

Key* Schema::Find(std::string_view name) const {
  for (const auto& key : keys_) {
    if (key->name() == name) return key.get();
  }
  return nullptr;
}

Key& Schema::AddKey(std::string name, std::string help, Key::Binding binding) {
  PINGTI_CHECK_MSG(Find(name) == nullptr, name);
  PINGTI_CHECK_MSG(name != "config" && name != "help" && name != "version", name);
  keys_.push_back(std::make_unique<Key>(std::move(name), std::move(help), std::move(binding)));
  keys_.back()->group_ = group_;
  return *keys_.back();
}

Key& Schema::Add(std::string name, std::string* field, std::string help) {
  Key::Binding binding;
  binding.type = "text";
  binding.parse = One([field](const std::string& text) {
    *field = text;
    return absl::OkStatus();
  });
  binding.format = [field] { return YamlString(*field); };
  return AddKey(std::move(name), std::move(help), std::move(binding));
}

Key& Schema::Add(std::string name, bool* field, std::string help) {
  Key::Binding binding;
  binding.type = "true or false";
  binding.is_bool = true;
  binding.parse = One([field](const std::string& text) {
    const std::optional<bool> value = ParseBool(text);
    if (!value) return Expected("true or false");
    *field = *value;
    return absl::OkStatus();
  });
  binding.format = [field] { return Concat(*field); };
  return AddKey(std::move(name), std::move(help), std::move(binding));
}

Key& Schema::Add(std::string name, int32_t* field, std::string help) {
  return AddKey(std::move(name), std::move(help), BindInteger(field));
}
Key& Schema::Add(std::string name, int64_t* field, std::string help) {
  return AddKey(std::move(name), std::move(help), BindInteger(field));
}
Key& Schema::Add(std::string name, uint16_t* field, std::string help) {
  return AddKey(std::move(name), std::move(help), BindInteger(field));
}
Key& Schema::Add(std::string name, uint32_t* field, std::string help) {
  return AddKey(std::move(name), std::move(help), BindInteger(field));
}
Key& Schema::Add(std::string name, uint64_t* field, std::string help) {
  return AddKey(std::move(name), std::move(help), BindInteger(field));
}

Key& Schema::Add(std::string name, double* field, std::string help) {
  Key::Binding binding;
  binding.type = "a number";
  binding.parse = One([field](const std::string& text) {
    double value = 0;
    if (!ParseWhole(text, &value) || !std::isfinite(value)) return Expected("a number");
    *field = value;
    return absl::OkStatus();
  });
  binding.format = [field] { return Concat(*field); };
  binding.number = [field] { return *field; };
  binding.format_bound = [](double bound) { return Concat(bound); };
  return AddKey(std::move(name), std::move(help), std::move(binding));
}

Key& Schema::Add(std::string name, std::chrono::milliseconds* field, std::string help) {
  const auto from_ms = [](double ms) {
    return FormatDuration(std::chrono::milliseconds(static_cast<int64_t>(ms)));
  };
  Key::Binding binding;
  binding.type = "a duration such as 250ms, 30s or 1.5h";
  binding.is_duration = true;
  binding.parse = One([field, type = binding.type](const std::string& text) {
    const auto value = ParseDuration(text);
    if (!value.ok()) return Expected(type);
    *field = *value;
    return absl::OkStatus();
  });
  binding.format = [field] { return FormatDuration(*field); };
  binding.number = [field] { return static_cast<double>(field->count()); };
  binding.format_bound = from_ms;
  return AddKey(std::move(name), std::move(help), std::move(binding));
}

Key& Schema::Add(std::string name, std::vector<std::string>* field, std::string help) {
  Key::Binding binding;
  binding.type = "a list of texts";
  binding.is_list = true;
  binding.parse = [field](const std::vector<std::string>& texts) {
    *field = texts;
    return absl::OkStatus();
  };
  binding.format = [field] {
    std::string list = "[";
    for (const std::string& item : *field) {
      if (list.size() > 1) list += ", ";
      list += YamlString(item);
    }
    return list + "]";
  };
  return AddKey(std::move(name), std::move(help), std::move(binding));
}

Key& Schema::AddBytes(std::string name, int64_t* field, std::string help) {
  Key::Binding binding;
  binding.type = "a size such as 100M, 2GiB or 1048576";
  binding.parse = One([field, type = binding.type](const std::string& text) {
    const auto value = ParseByteSize(text);
    if (!value.ok()) return Expected(type);
    *field = *value;
    return absl::OkStatus();
  });
  binding.format = [field] { return FormatByteSize(*field); };
  binding.number = [field] { return static_cast<double>(*field); };
  binding.format_bound = [](double bound) { return FormatByteSize(static_cast<int64_t>(bound)); };
  return AddKey(std::move(name), std::move(help), std::move(binding));
}

Key& Schema::AddChoice(std::string name, std::vector<std::string> spellings,
                       std::function<void(size_t)> set, std::function<size_t()> get,
                       std::string help) {
  Key::Binding binding;
  binding.type = "one of";
  for (const std::string& spelling : spellings) {
    binding.type += Concat(binding.type == "one of" ? " " : ", ", spelling);
  }
  PINGTI_CHECK_MSG(get() < spellings.size(), name);
  binding.format = [spellings, get] { return YamlString(spellings[get()]); };
  binding.parse = One([spellings, set, type = binding.type](const std::string& text) {
    for (size_t i = 0; i < spellings.size(); ++i) {
      if (spellings[i] == text) {
        set(i);
        return absl::OkStatus();
      }
    }
    const std::vector<std::string_view> names(spellings.begin(), spellings.end());
    const std::optional<std::string_view> nearest = NearestName(text, names);
    if (!nearest) return Expected(type);
    return Expected(Concat(type, "; did you mean '", *nearest, "'?"));
  });
  return AddKey(std::move(name), std::move(help), std::move(binding));
}

}  // namespace pingti::config
