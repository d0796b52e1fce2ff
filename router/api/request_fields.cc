// See request_fields.h.
#include "router/api/request_fields.h"

#include <algorithm>
#include <utility>

#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "router/api/api_error.h"
#include "router/api/json_fields.h"

namespace pingti::router {
namespace json = boost::json;
namespace {

constexpr std::string_view kOthers = "*";

}  // namespace

FieldTable::FieldTable(std::initializer_list<std::span<const FieldRow>> rows, Unknown unknown)
    : unknown_(unknown) {
  for (const std::span<const FieldRow> part : rows) {
    for (const FieldRow& row : part) Add(row);
  }
}

void FieldTable::Add(const FieldRow& row) {
  Node* node = &root_;
  std::string_view rest = row.name;
  while (!rest.empty()) {
    const size_t dot = rest.find('.');
    std::string_view name = rest.substr(0, dot);
    rest = dot == std::string_view::npos ? std::string_view() : rest.substr(dot + 1);
    if (name.ends_with("[]")) name.remove_suffix(2);
    if (name == kOthers) {
      node->takes_others = true;
      return;
    }
    node = &node->members[name];
  }
  node->use = row.use;
  node->why = row.why;
  if (!row.neutral.empty()) {
    node->neutral =
        json::parse(json::string_view(row.neutral.data(), row.neutral.size())).as_array();
  }
}

std::vector<std::string_view> FieldTable::UsedMembers() const {
  std::vector<std::string_view> names;
  for (const auto& [name, node] : root_.members) {
    if (node.use == FieldUse::kUsed || node.use == FieldUse::kAsItIs) names.push_back(name);
  }
  return names;
}

class BodyCleaner {
 public:
  BodyCleaner(const FieldTable& table, IgnoredFields* ignored) : table_(table), ignored_(ignored) {}

  absl::Status Clean(json::object* body) { return CleanObject(table_.root_, Place{}, body); }

 private:
  using Node = FieldTable::Node;

  // Where an object stands: with the indices of its lists, for errors, and without, as tables spell
  // it.
  struct Place {
    std::string path;
    std::string name;
  };

  static Place Member(const Place& place, std::string_view member) {
    const std::string_view dot = place.path.empty() ? "" : ".";
    return {Concat(place.path, dot, member), Concat(place.name, dot, member)};
  }

  static bool IsLeftOut(const Node& node, const json::value& value) {
    if (value.is_null()) return true;
    if (node.use == FieldUse::kAsItIs) return false;
    if (value.is_object() && value.get_object().empty()) return true;
    return std::find(node.neutral.begin(), node.neutral.end(), value) != node.neutral.end();
  }

  absl::Status CleanObject(const Node& node, const Place& place, json::object* object) {
    for (auto it = object->begin(); it != object->end();) {
      PINGTI_ASSIGN_OR_RETURN(const bool stays, CleanMember(node, place, it->key(), &it->value()));
      it = stays ? it + 1 : object->erase(it);
    }
    return absl::OkStatus();
  }

  absl::StatusOr<bool> CleanMember(const Node& parent, const Place& parent_place,
                                   json::string_view key, json::value* value) {
    const std::string_view name = View(key);
    const auto found = parent.members.find(name);
    if (found == parent.members.end()) return CleanOther(parent, parent_place, name, *value);
    const Node& node = found->second;
    if (IsLeftOut(node, *value)) return false;
    const bool is_read = node.use == FieldUse::kUsed || node.use == FieldUse::kAsItIs;
    if (is_read && node.members.empty() && !node.takes_others) return true;
    const Place place = Member(parent_place, name);
    if (node.use == FieldUse::kRefused) return UnsupportedField(place.path, node.why);
    if (node.use == FieldUse::kIgnored) {
      ignored_->Add(place.name);
      return false;
    }
    PINGTI_RETURN_IF_ERROR(CleanWithin(node, place, value));
    return !IsLeftOut(node, *value);
  }

  // A member that has no row.
  absl::StatusOr<bool> CleanOther(const Node& parent, const Place& place, std::string_view name,
                                  const json::value& value) {
    if (value.is_null()) return false;
    if (!parent.takes_others) return table_.unknown_(Member(place, name).path);
    const bool is_empty = value.is_object() && value.get_object().empty();
    if (!is_empty) ignored_->Add(Member(place, IsPlainName(name) ? name : kOthers).name);
    return false;
  }

  absl::Status CleanWithin(const Node& node, const Place& place, json::value* value) {
    if (value->is_object()) return CleanObject(node, place, &value->get_object());
    if (!value->is_array()) return absl::OkStatus();
    json::array& list = value->get_array();
    for (size_t i = 0; i < list.size(); ++i) {
      if (!list[i].is_object()) continue;
      const Place element{Concat(place.path, "[", i, "]"), place.name + "[]"};
      PINGTI_RETURN_IF_ERROR(CleanObject(node, element, &list[i].get_object()));
    }
    return absl::OkStatus();
  }

  const FieldTable& table_;
  IgnoredFields* const ignored_;
};

absl::Status CleanBody(const FieldTable& table, json::object* body, IgnoredFields* ignored) {
  return BodyCleaner(table, ignored).Clean(body);
}

}  // namespace pingti::router
