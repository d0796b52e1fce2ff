// Reads YAML with yaml-cpp, whose exceptions end here.
#include "common/config/yaml_file.h"

#include <yaml-cpp/yaml.h>

#include <optional>

#include "absl/status/status.h"
#include "common/base/edit_distance.h"
#include "common/base/read_file.h"
#include "common/base/status_macros.h"

namespace pingti::config {
namespace {

absl::Status At(const std::string& path, const YAML::Mark& mark, std::string_view message) {
  const std::string place = mark.is_null() ? path : Concat(path, ":", mark.line + 1);
  return absl::InvalidArgumentError(Concat(place, ": ", message));
}

absl::Status UnknownKey(const Schema& schema, const std::string& path, const YAML::Node& node) {
  std::vector<std::string_view> known;
  for (const auto& key : schema.keys()) known.push_back(key->name());
  const std::optional<std::string_view> nearest = NearestName(node.Scalar(), known);
  std::string message =
      Concat("unknown key '", node.Scalar(), "' in ", path, ":", node.Mark().line + 1);
  if (nearest) message += Concat("; did you mean '", *nearest, "'?");
  return absl::InvalidArgumentError(message);
}

// The texts of a scalar, or of a sequence of scalars where the key is a list. `mark` is the key's
// place: an absent value has none of its own.
absl::StatusOr<std::vector<std::string>> TextsOf(const Key& key, const YAML::Node& value,
                                                 const std::string& path, const YAML::Mark& mark) {
  if (value.IsScalar() && !key.is_list()) return std::vector<std::string>{value.Scalar()};
  const std::string expected = Concat("'", key.name(), "': expected ", key.type());
  if (!value.IsSequence() || !key.is_list()) {
    const std::string_view found = value.IsNull()       ? "nothing"
                                   : value.IsMap()      ? "a mapping"
                                   : value.IsSequence() ? "a list"
                                                        : "a single value";
    return At(path, mark, Concat(expected, ", found ", found));
  }
  std::vector<std::string> texts;
  for (const YAML::Node& item : value) {
    if (!item.IsScalar()) return At(path, mark, Concat(expected, ", found a nested value"));
    texts.push_back(item.Scalar());
  }
  return texts;
}

absl::StatusOr<std::vector<const Key*>> Apply(Schema& schema, const std::string& path,
                                              const std::string& text) {
  const std::vector<YAML::Node> documents = YAML::LoadAll(text);
  std::vector<const Key*> set;
  if (documents.empty() || documents[0].IsNull()) return set;
  if (documents.size() > 1) {
    return absl::InvalidArgumentError(
        Concat(path, ": expected one YAML document, found ", documents.size()));
  }
  const YAML::Node& root = documents[0];
  if (!root.IsMap()) return At(path, root.Mark(), "expected 'key: value' lines");
  for (const auto& entry : root) {
    if (!entry.first.IsScalar()) return At(path, entry.first.Mark(), "expected a key");
    Key* const key = schema.Find(entry.first.Scalar());
    if (key == nullptr) return UnknownKey(schema, path, entry.first);
    for (const Key* earlier : set) {
      if (earlier == key) {
        return At(path, entry.first.Mark(), Concat("'", key->name(), "' is given twice"));
      }
    }
    PINGTI_ASSIGN_OR_RETURN(const std::vector<std::string> texts,
                            TextsOf(*key, entry.second, path, entry.first.Mark()));
    PINGTI_RETURN_IF_ERROR(key->Set(texts, Concat(path, ":", entry.first.Mark().line + 1)));
    set.push_back(key);
  }
  return set;
}

}  // namespace

absl::StatusOr<std::vector<const Key*>> ApplyYamlFile(Schema& schema, const std::string& path) {
  const absl::StatusOr<std::string> text = ReadFile(path);
  if (!text.ok()) {
    return absl::NotFoundError(Concat("configuration file ", std::string(text.status().message())));
  }
  try {
    return Apply(schema, path, *text);
  } catch (const YAML::Exception& error) {
    return At(path, error.mark, error.msg);
  }
}

}  // namespace pingti::config
