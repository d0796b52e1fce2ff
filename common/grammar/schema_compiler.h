// The compiler behind json_schema.h: one method for each kind of schema. Confined to one call.
#pragma once

#include <boost/json.hpp>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "common/grammar/grammar.h"
#include "common/grammar/json_rules.h"
#include "common/grammar/number_range.h"
#include "common/grammar/regex_source.h"

namespace pingti::grammar {

class SchemaCompiler {
 public:
  // Both must outlive this.
  SchemaCompiler(const boost::json::value* root, Grammar* grammar)
      : root_(*root), grammar_(*grammar), rules_(grammar) {}

  // Compiles the whole schema and makes it the grammar's root.
  absl::Status Run();
  // Compiles the schema at `reference`, as "#/properties/a". May be called again, for others.
  absl::StatusOr<RuleId> Compile(std::string_view reference);

 private:
  using Object = boost::json::object;
  using Value = boost::json::value;

  // The schema being compiled: where it stands, for messages, and how deep.
  struct At {
    std::string pointer;
    int32_t nesting = 0;

    At Below(std::string_view part) const;
  };
  // Bounds of a count or length.
  struct Bounds {
    int32_t min = 0;
    int32_t max = kUnbounded;
  };

  // json_schema.cc
  absl::StatusOr<ExprId> Build(const Value& schema, const At& at);
  absl::StatusOr<ExprId> BuildObjectSchema(const Object& schema, const At& at);
  absl::StatusOr<ExprId> BuildAlternatives(const Object& schema, std::string_view keyword,
                                           const At& at);
  absl::StatusOr<ExprId> BuildTypes(const Object& schema, const At& at);
  absl::StatusOr<ExprId> BuildType(std::string_view type, const Object& schema, const At& at);
  absl::StatusOr<ExprId> BuildEnum(const Object& schema, const At& at);
  ExprId BuildConstant(const Value& value);
  absl::Status CheckKeywords(const Object& schema, const At& at) const;
  absl::StatusOr<RuleId> RuleOf(std::string_view reference, const At& at);
  absl::StatusOr<const Value*> Resolve(std::string_view reference, const At& at) const;
  // `schema` with what allOf and $ref bring merged in. Nothing: it accepts nothing.
  absl::StatusOr<std::optional<Object>> Flatten(const Value& schema, const At& at, int32_t depth);

  // schema_types.cc
  absl::StatusOr<ExprId> BuildString(const Object& schema, const At& at);
  absl::StatusOr<ExprId> BuildPattern(const Object& schema, const Bounds& length, const At& at);
  absl::StatusOr<ExprId> BuildNumber(const Object& schema, bool integer, const At& at);
  absl::StatusOr<ExprId> BuildArray(const Object& schema, const At& at);
  absl::StatusOr<ExprId> BuildObject(const Object& schema, const At& at);
  absl::StatusOr<ExprId> OtherName(const Object& properties, const At& at);
  absl::StatusOr<Bounds> BoundsOf(const Object& schema, std::string_view min_keyword,
                                  std::string_view max_keyword, const At& at) const;
  absl::StatusOr<std::optional<NumberBound>> BoundOf(const Object& schema,
                                                     std::string_view inclusive,
                                                     std::string_view exclusive, bool lowest,
                                                     const At& at) const;

  const Value& root_;
  Grammar& grammar_;
  JsonRules rules_;
  std::map<std::string, RuleId> rule_of_;  // by pointer
  std::vector<std::pair<RuleId, std::string>> open_;
  size_t compiled_ = 0;  // of open_
  int32_t merges_ = 0;
};

}  // namespace pingti::grammar
