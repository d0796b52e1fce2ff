// What people read about a schema: --help and the annotated configuration file.
#include <algorithm>
#include <string>
#include <string_view>

#include "common/base/strings.h"
#include "common/base/version.h"
#include "common/config/load.h"

namespace pingti::config {
namespace {

constexpr size_t kWidth = 96;

// `text` in lines of at most kWidth characters, each after `indent`.
std::string Wrap(std::string_view text, std::string_view indent) {
  std::string out;
  std::string line(indent);
  while (!text.empty()) {
    const size_t space = std::min(text.find(' '), text.size());
    const std::string_view word = text.substr(0, space);
    if (line.size() > indent.size() && line.size() + 1 + word.size() > kWidth) {
      out += line + "\n";
      line = indent;
    }
    if (line.size() > indent.size()) line += ' ';
    line += word;
    text.remove_prefix(std::min(space + 1, text.size()));
  }
  return out + line + "\n";
}

// "Default 8192, range [1, 1048576]. Variables PINGTI_X, X. Flag --x."
std::string Facts(const Key& key) {
  std::string facts = key.required() ? "Required" : Concat("Default ", key.default_value());
  facts += Concat("; ", key.type());
  if (!key.range().empty()) facts += Concat(", range ", key.range());
  facts += ". Environment: ";
  for (const std::string& name : key.env_names()) {
    if (&name != &key.env_names().front()) facts += ", ";
    facts += name;
  }
  return facts + ".";
}

}  // namespace

std::string PrintConfig(const Schema& schema) {
  std::string out = Wrap(Concat(schema.program(), " ", Version(), ": ", schema.summary()), "# ");
  out += Wrap(
      "Each key is also an environment variable and a flag (--max-batch-size for "
      "max_batch_size); flags win over variables, variables over this file.",
      "# ");
  std::string group;
  for (const auto& key : schema.keys()) {
    out += "\n";
    if (key->group() != group) {
      group = key->group();
      out += Concat("# --- ", group, "\n\n");
    }
    out += Wrap(key->help(), "# ");
    out += Wrap(Facts(*key), "# ");
    const bool is_default = key->Value() == key->default_value();
    if (key->secret() && !is_default) {
      out += Concat("# ", key->name(), ": is set, and not shown\n");
      continue;
    }
    // Left out, so that the file as it stands still asks for it.
    out += Concat(key->required() && is_default ? "# " : "", key->name(), ": ", key->Value(), "\n");
  }
  return out;
}

std::string Help(const Schema& schema) {
  std::string out =
      Concat(schema.program(), " ", Version(), ": ", schema.summary(),
             "\n\nUsage: ", schema.program(), " [--config FILE] [--name value]...\n\n");
  out += "  --config FILE\n";
  out += Wrap("A YAML file of settings. Environment: PINGTI_CONFIG.", "      ");
  out += "  --print-config\n";
  out += Wrap("Prints the settings in effect as an annotated YAML file and exits.", "      ");
  out += "  --help, --version\n";
  std::string group;
  for (const auto& key : schema.keys()) {
    if (key->group() != group) {
      group = key->group();
      out += Concat("\n", group, ":\n");
    }
    out += Concat("  ", key->flag(), key->is_bool() ? "" : " VALUE", "\n");
    out += Wrap(key->help(), "      ");
    out += Wrap(Facts(*key), "      ");
  }
  return out;
}

}  // namespace pingti::config
