// See normalize.h.
#include "common/grammar/normalize.h"

#include <algorithm>
#include <unordered_map>
#include <utility>

#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "common/base/strings.h"

namespace pingti::grammar {
namespace {

using Expr = Grammar::Expr;
using Kind = Grammar::Kind;

// Repeats of up to this many byte positions are written out; longer ones count at run time.
constexpr int64_t kMostWrittenOut = 32;
// So are fewer of a shared rule: the masks of a counted call serve all of its counts, those of a
// caller that is written out are worked out at every one (bench/grammar: 2 ms a token, not 2 us).
constexpr int64_t kMostSharedWrittenOut = 2;
// Rules of up to this many byte positions are taken into their callers.
constexpr int64_t kMostInlined = 64;
constexpr int64_t kHuge = int64_t{1} << 40;

class Normalizer {
 public:
  explicit Normalizer(Grammar grammar) : grammar_(std::move(grammar)) {}

  absl::StatusOr<NormalGrammar> Run() {
    const int32_t num_rules = grammar_.num_rules();
    nullable_rule_.assign(num_rules, false);
    PINGTI_RETURN_IF_ERROR(Fixpoint(&nullable_rule_, false));
    productive_rule_.assign(num_rules, false);
    PINGTI_RETURN_IF_ERROR(Fixpoint(&productive_rule_, true));
    if (!productive_rule_[grammar_.root()]) {
      return absl::InvalidArgumentError(
          "no finite text matches: expected every recursion to have a way out, and every choice an "
          "alternative that can be met");
    }
    // Children come before their parents in the arena.
    const int32_t num_exprs = grammar_.num_exprs();
    for (ExprId id = 0; id < num_exprs; ++id) Rewrite(id);
    // Bodies of variants may ask for further variants.
    for (size_t i = 0; i < variants_.size(); ++i) {
      const auto [rule, variant] = variants_[i];
      const ExprId body = NonEmpty(grammar_.rule(rule).body);
      grammar_.SetBody(variant, body);
      PINGTI_RETURN_IF_ERROR(grammar_.status());
    }
    inlined_.assign(grammar_.num_rules(), false);
    visit_.assign(grammar_.num_rules(), Visit::kNew);
    rule_size_.assign(grammar_.num_rules(), 1);
    MeasureRule(grammar_.root());
    PINGTI_RETURN_IF_ERROR(grammar_.status());
    inlined_.resize(grammar_.num_rules(), false);
    return NormalGrammar{std::move(grammar_), std::move(inlined_)};
  }

 private:
  enum class Visit : uint8_t { kNew, kOpen, kDone };

  // Whether an expression matches the empty text (or, if `productive`, any text at all) when
  // `rules` says so of its rules and `known` of its children.
  static bool Evaluate(const Expr& e, const std::vector<bool>& rules,
                       const std::vector<bool>& known, bool productive) {
    const auto holds = [&](ExprId child) { return known[child]; };
    switch (e.kind) {
      case Kind::kLiteral:
        return productive || e.bytes.empty();
      case Kind::kClass:
        return productive && !e.chars.empty();
      case Kind::kSequence:
        return std::all_of(e.children.begin(), e.children.end(), holds);
      case Kind::kChoice:
        return std::any_of(e.children.begin(), e.children.end(), holds);
      case Kind::kRepeat:
        return e.min == 0 || known[e.children[0]];
      case Kind::kCall:
        return rules[e.rule];
      case Kind::kList: {
        for (size_t i = 0; i < e.required.size(); ++i) {
          if (e.required[i] && !known[e.children[i]]) return false;
        }
        return true;
      }
    }
    return false;
  }

  absl::Status Fixpoint(std::vector<bool>* rules, bool productive) {
    std::vector<bool> known(grammar_.num_exprs());
    bool changed = true;
    while (changed) {
      changed = false;
      PINGTI_RETURN_IF_ERROR(CheckDeadline(grammar_.limits()));
      for (ExprId id = 0; id < grammar_.num_exprs(); ++id) {
        known[id] = Evaluate(grammar_.expr(id), *rules, known, productive);
      }
      for (RuleId rule = 0; rule < grammar_.num_rules(); ++rule) {
        if ((*rules)[rule] || !known[grammar_.rule(rule).body]) continue;
        (*rules)[rule] = changed = true;
      }
    }
    return absl::OkStatus();
  }

  void Rewrite(ExprId id) {
    const Expr& e = grammar_.expr(id);
    if (e.kind == Kind::kCall) {
      const RuleId rule = e.rule;
      if (!productive_rule_[rule]) {
        Replace(id, Kind::kChoice, {});
      } else if (nullable_rule_[rule]) {
        const ExprId call = grammar_.Call(VariantOf(rule));
        Replace(id, Kind::kRepeat, {call});
        grammar_.mutable_expr(id)->min = 0;
      }
    } else if (e.kind == Kind::kRepeat && Nullable(e.children[0])) {
      const ExprId child = NonEmpty(e.children[0]);
      grammar_.mutable_expr(id)->children = {child};
      grammar_.mutable_expr(id)->min = 0;
    }
  }

  void Replace(ExprId id, Kind kind, std::vector<ExprId> children) {
    Expr* e = grammar_.mutable_expr(id);
    e->kind = kind;
    e->children = std::move(children);
  }

  // The rule without the empty text.
  RuleId VariantOf(RuleId rule) {
    const auto [it, is_new] = variant_of_.try_emplace(rule, -1);
    if (is_new) {
      it->second = grammar_.AddRule(grammar_.rule(rule).name, grammar_.rule(rule).shared);
      // Until its own body is built: anything that is in the arena.
      if (it->second != 0) variants_.push_back({rule, it->second});
    }
    return it->second;
  }

  // Of a rewritten expression.
  bool Nullable(ExprId id) const {
    const Expr& e = grammar_.expr(id);
    const auto nullable = [this](ExprId child) { return Nullable(child); };
    switch (e.kind) {
      case Kind::kLiteral:
        return e.bytes.empty();
      case Kind::kSequence:
        return std::all_of(e.children.begin(), e.children.end(), nullable);
      case Kind::kChoice:
        return std::any_of(e.children.begin(), e.children.end(), nullable);
      case Kind::kRepeat:
        return e.min == 0;
      case Kind::kList:
        return std::none_of(e.required.begin(), e.required.end(), [](bool r) { return r; });
      case Kind::kClass:
      case Kind::kCall:
        return false;
    }
    return false;
  }

  // A rewritten expression without the empty text.
  ExprId NonEmpty(ExprId id) {
    if (!Nullable(id)) return id;
    const auto known = non_empty_.find(id);
    if (known != non_empty_.end()) return known->second;
    const Expr e = grammar_.expr(id);  // a copy: the arena grows below
    ExprId result = id;
    if (e.kind == Kind::kLiteral) {
      result = grammar_.Choice({});
    } else if (e.kind == Kind::kChoice) {
      std::vector<ExprId> children;
      for (const ExprId child : e.children) children.push_back(NonEmpty(child));
      result = grammar_.Choice(std::move(children));
    } else if (e.kind == Kind::kRepeat) {
      if (e.max != 0) {
        result = grammar_.Repeat(e.children[0], 1, e.max);
      } else {
        result = grammar_.Choice({});
      }
    } else if (e.kind == Kind::kSequence) {
      result = NonEmptySequence(e.children);
    } else {
      PINGTI_CHECK_MSG(false, "a list of optional elements stands bare in a repeat");
    }
    non_empty_.emplace(id, result);
    return result;
  }

  // Either the first part is not empty, or the rest is not.
  ExprId NonEmptySequence(const std::vector<ExprId>& children) {
    ExprId rest = -1;   // of children[i..]
    ExprId valid = -1;  // the same without the empty text
    for (size_t i = children.size(); i-- > 0;) {
      const ExprId first = NonEmpty(children[i]);
      if (rest < 0) {
        valid = first;
        rest = children[i];
        continue;
      }
      valid = grammar_.Choice({grammar_.Sequence({first, rest}), valid});
      rest = grammar_.Sequence({children[i], rest});
    }
    return valid;
  }

  // Byte positions that an expression takes when written out. Turns long repeats into counted
  // calls, and marks rules to be taken in, on the way.
  int64_t Measure(ExprId id) {
    const auto known = size_.find(id);
    if (known != size_.end()) return known->second;
    const Expr e = grammar_.expr(id);
    int64_t size = 0;
    switch (e.kind) {
      case Kind::kLiteral:
        size = static_cast<int64_t>(e.bytes.size());
        break;
      case Kind::kClass:
        size = e.chars.ranges().empty() || e.chars.ranges().back().last < 0x80 ? 1 : 8;
        break;
      case Kind::kRepeat:
        size = MeasureRepeat(id, e);
        break;
      case Kind::kCall:
        size = MeasureRule(e.rule);
        break;
      case Kind::kSequence:
      case Kind::kChoice:
      case Kind::kList:
        for (const ExprId child : e.children) size = std::min(kHuge, size + Measure(child));
        break;
    }
    size_.emplace(id, size);
    return size;
  }

  int64_t MeasureRepeat(ExprId id, const Expr& e) {
    const int64_t child_size = std::max<int64_t>(1, Measure(e.children[0]));
    const int64_t copies = e.max == kUnbounded ? std::max(1, e.min) : e.max;
    const int64_t size = child_size * copies;
    const Expr& child = grammar_.expr(e.children[0]);
    const bool shared = child.kind == Kind::kCall && grammar_.rule(child.rule).shared;
    if (copies <= (shared ? kMostSharedWrittenOut : 1)) return size;
    if (!shared && size <= kMostWrittenOut) return size;
    RuleId body = -1;
    if (child.kind == Kind::kCall && child.min == 1 && child.max == 1) {
      body = child.rule;
      inlined_.resize(grammar_.num_rules(), false);
      inlined_[body] = false;
      keep_.push_back(body);
    } else {
      body = grammar_.AddRule("repeated");
      grammar_.SetBody(body, e.children[0]);
      inlined_.resize(grammar_.num_rules(), false);
      visit_.resize(grammar_.num_rules(), Visit::kDone);
      rule_size_.resize(grammar_.num_rules(), 1);
    }
    Expr call;
    call.kind = Kind::kCall;
    call.rule = body;
    call.min = std::max(1, e.min);
    call.max = e.max;
    if (e.min > 0) {
      *grammar_.mutable_expr(id) = std::move(call);
      return 1;
    }
    const ExprId counted = grammar_.Call(body);
    *grammar_.mutable_expr(counted) = std::move(call);
    Replace(id, Kind::kRepeat, {counted});
    grammar_.mutable_expr(id)->max = 1;
    return 1;
  }

  int64_t MeasureRule(RuleId rule) {
    if (visit_[rule] == Visit::kDone) return rule_size_[rule];
    if (visit_[rule] == Visit::kOpen) {  // on a cycle: this one stays a rule
      recursive_.push_back(rule);
      return 1;
    }
    visit_[rule] = Visit::kOpen;
    const int64_t size = Measure(grammar_.rule(rule).body);
    visit_[rule] = Visit::kDone;
    const auto among = [rule](const std::vector<RuleId>& rules) {
      return std::find(rules.begin(), rules.end(), rule) != rules.end();
    };
    const bool takes_in =
        size <= kMostInlined && !grammar_.rule(rule).shared && !among(recursive_) && !among(keep_);
    inlined_.resize(grammar_.num_rules(), false);
    inlined_[rule] = takes_in;
    rule_size_[rule] = takes_in ? size : 1;
    return rule_size_[rule];
  }

  Grammar grammar_;
  std::vector<bool> nullable_rule_;
  std::vector<bool> productive_rule_;
  std::unordered_map<RuleId, RuleId> variant_of_;
  std::vector<std::pair<RuleId, RuleId>> variants_;
  std::unordered_map<ExprId, ExprId> non_empty_;
  std::unordered_map<ExprId, int64_t> size_;
  std::vector<bool> inlined_;
  std::vector<Visit> visit_;
  std::vector<int64_t> rule_size_;
  std::vector<RuleId> recursive_;
  std::vector<RuleId> keep_;
};

}  // namespace

absl::StatusOr<NormalGrammar> Normalize(Grammar grammar) {
  PINGTI_RETURN_IF_ERROR(grammar.status());
  return Normalizer(std::move(grammar)).Run();
}

}  // namespace pingti::grammar
