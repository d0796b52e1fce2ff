// What becomes of every field of every API's requests, in one table per API (field_tables.cc): it
// is used, ignored or refused. The parsers call CleanBody before they read a field, and
// tests/e2e/test_api_doc.py holds docs/api.md against the same tables, so that the three cannot
// disagree.
//
// A field is refused where an answer without it would not be what was asked for. One that is a
// hint, a label or a default of a client is ignored, and named in the answer's header
// x-pingti-ignored. Included only by .cc files of the API folders.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <map>
#include <span>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "boost/json.hpp"
#include "router/api/ignored_fields.h"

namespace pingti::router {

enum class FieldUse : uint8_t {
  kUsed,     // the parser reads it; its members have rows of their own
  kAsItIs,   // the parser takes it with all that is in it, as a JSON schema
  kIgnored,  // accepted, and named in the answer
  kRefused,  // 400
};

struct FieldRow {
  // "messages[].content[].text"; "messages[].*" stands for every member that has no row.
  std::string_view name;
  FieldUse use = FieldUse::kUsed;
  std::string_view why{};      // of a refusal
  std::string_view neutral{};  // a JSON array of values that are the same as leaving the field out
};

// A request's fields as a tree. Immutable.
class FieldTable {
 public:
  using Unknown = absl::Status (*)(std::string_view field);

  // Later rows stand over earlier ones of the same name. `unknown` makes the API's error for a
  // field that has no row.
  FieldTable(std::initializer_list<std::span<const FieldRow>> rows, Unknown unknown);

  // The body's own members that a parser has to read.
  std::vector<std::string_view> UsedMembers() const;

 private:
  friend class BodyCleaner;
  struct Node {
    FieldUse use = FieldUse::kUsed;
    std::string_view why;
    boost::json::array neutral;
    bool takes_others = false;  // there is a row "*"
    std::map<std::string_view, Node> members;
  };
  void Add(const FieldRow& row);

  Node root_;
  const Unknown unknown_;
};

const FieldTable& ChatFields();
const FieldTable& CompletionFields();
const FieldTable& ResponsesFields();
const FieldTable& MessagesFields();
const FieldTable& CountTokensFields();
const FieldTable& TokenizeFields();
const FieldTable& DetokenizeFields();
const FieldTable& LoadAdapterFields();
const FieldTable& UnloadAdapterFields();

// Takes out of `body`, at any depth, what counts as left out (null, an empty object, a value that
// the table calls neutral) and what is ignored. Errors: InvalidArgument naming the field that is
// refused or unknown.
absl::Status CleanBody(const FieldTable& table, boost::json::object* body, IgnoredFields* ignored);

}  // namespace pingti::router
