// The one form that every source of constraints becomes: rules of expressions over bytes.
//
// A front end (json_schema.h, regex_source.h, ebnf_source.h) builds a Grammar, normalize.h removes
// what the automaton cannot have, automaton.h compiles it. Expressions live in the grammar's arena
// and are named by index; the same expression may stand in several places. Thread-compatible.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "common/base/clock.h"
#include "common/grammar/char_class.h"

namespace pingti::grammar {

using ExprId = int32_t;
using RuleId = int32_t;

inline constexpr int32_t kUnbounded = -1;

// What a hostile source may cost. The defaults hold schemas of hundreds of properties.
struct GrammarLimits {
  size_t max_source_bytes = 256 << 10;
  int32_t max_exprs = 100'000;
  int32_t max_rules = 4'000;
  int32_t max_states = 50'000;
  int32_t max_nesting = 64;   // of the source: brackets, subschemas
  int32_t max_depth = 2'000;  // of expressions within each other
  const Clock* clock = RealClock();
  std::chrono::steady_clock::time_point deadline = std::chrono::steady_clock::time_point::max();
};

class Grammar {
 public:
  enum class Kind : uint8_t {
    kLiteral,   // bytes; may be empty
    kClass,     // one character
    kSequence,  // children in order
    kChoice,    // any child; none: matches nothing at all
    kRepeat,    // children[0], min to max times
    kCall,      // a rule; a call of more than once is what normalize.h makes of long repeats
    kList,      // see List
  };

  struct Expr {
    Kind kind = Kind::kLiteral;
    int32_t min = 1;  // kRepeat, kCall
    int32_t max = 1;  // kRepeat, kCall; kUnbounded
    RuleId rule = -1;
    std::string bytes;
    CharClass chars;
    std::vector<ExprId> children;
    std::vector<bool> required;  // kList, one per child but the last, which is the separator
    int32_t depth = 1;
  };

  struct Rule {
    std::string name;
    ExprId body = -1;
    // Stays a rule of its own, however small: its automaton's masks are then shared by all callers.
    bool shared = false;
  };

  struct ListElement {
    ExprId expr;
    bool required;
  };

  explicit Grammar(const GrammarLimits& limits) : limits_(limits) {}

  ExprId Literal(std::string_view bytes);
  ExprId Class(CharClass chars);
  ExprId Sequence(std::vector<ExprId> children);
  ExprId Choice(std::vector<ExprId> children);
  // REQUIRES: 0 <= min, and min <= max or max is kUnbounded.
  ExprId Repeat(ExprId child, int32_t min, int32_t max);
  ExprId Optional(ExprId child) { return Repeat(child, 0, 1); }
  ExprId Call(RuleId rule);
  // The elements in order, those that are not required left out at will, with `separator` between
  // those that stand. REQUIRES: no element and not the separator matches the empty text.
  ExprId List(std::vector<ListElement> elements, ExprId separator);

  RuleId AddRule(std::string name, bool shared = false);
  void SetBody(RuleId rule, ExprId body) { rules_[rule].body = body; }
  void SetRoot(RuleId rule) { root_ = rule; }

  const Expr& expr(ExprId id) const { return exprs_[id]; }
  Expr* mutable_expr(ExprId id) { return &exprs_[id]; }
  const Rule& rule(RuleId id) const { return rules_[id]; }
  int32_t num_exprs() const { return static_cast<int32_t>(exprs_.size()); }
  int32_t num_rules() const { return static_cast<int32_t>(rules_.size()); }
  RuleId root() const { return root_; }
  const GrammarLimits& limits() const { return limits_; }

  // Errors: ResourceExhausted once a limit or the deadline was passed; what was built since is
  // not to be used.
  absl::Status status() const { return status_; }

 private:
  ExprId Add(Expr expr);

  const GrammarLimits limits_;
  std::vector<Expr> exprs_;
  std::vector<Rule> rules_;
  RuleId root_ = 0;
  absl::Status status_;
};

// Errors: DeadlineExceeded when limits.deadline has passed.
absl::Status CheckDeadline(const GrammarLimits& limits);

}  // namespace pingti::grammar
