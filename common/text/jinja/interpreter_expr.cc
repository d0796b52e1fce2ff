// Expressions. See interpreter.h.
#include <algorithm>
#include <utility>

#include "common/text/jinja/builtins.h"
#include "common/text/jinja/error.h"
#include "common/text/jinja/interpreter.h"
#include "common/text/jinja/interpreter_guards.h"
#include "common/text/jinja/objects.h"
#include "common/text/jinja/value_ops.h"

namespace pingti::text::jinja {
namespace {

// What Jinja calls the type of an object whose attribute is missing.
std::string TypeRepr(const Value& value) {
  if (value.is_none()) return "None";
  if (value.is_namespace()) return "jinja2.utils.Namespace object";
  return std::string(TypeName(value)) + " object";
}

}  // namespace

Value Interpreter::Eval(const Expr& expr) {
  const DepthGuard depth(this);
  ChargeSteps(1);
  switch (expr.kind) {
    case ExprKind::kConstant:
      return expr.constant;
    case ExprKind::kName:
      return EvalName(expr);
    case ExprKind::kList:
    case ExprKind::kTuple:
      return EvalSequence(expr);
    case ExprKind::kDict:
      return EvalDict(expr);
    case ExprKind::kAttribute:
      return GetAttribute(Eval(*expr.operands[0]), expr.name);
    case ExprKind::kSubscript:
      return GetItem(Eval(*expr.operands[0]), Eval(*expr.operands[1]));
    case ExprKind::kSlice:
      return EvalSlice(expr);
    case ExprKind::kCall:
      return EvalCall(expr, std::nullopt);
    case ExprKind::kFilter:
      return EvalFilter(expr, nullptr);
    case ExprKind::kTest:
      return EvalTest(expr);
    case ExprKind::kArithmetic:
      return EvalArithmetic(expr);
    case ExprKind::kConcatenate:
      return EvalConcatenate(expr);
    case ExprKind::kNegate:
    case ExprKind::kPlus:
      return EvalSign(expr);
    case ExprKind::kNot:
      return Value(!Truth(Eval(*expr.operands[0])));
    case ExprKind::kAnd:
    case ExprKind::kOr:
      return EvalLogic(expr);
    case ExprKind::kCompare:
      return EvalCompare(expr);
    case ExprKind::kConditional:
      return EvalConditional(expr);
  }
  return Value();
}

Value Interpreter::EvalName(const Expr& expr) {
  for (Scope* scope = scope_; scope != nullptr; scope = scope->parent) {
    ChargeSteps(scope->variables.size() / 16);
    if (const Value* found = scope->Find(expr.symbol)) return *found;
  }
  if (std::optional<Value> global = FindGlobal(expr.name)) return *std::move(global);
  return Value::MakeUndefined("'" + expr.name + "' is undefined");
}

Value Interpreter::EvalSequence(const Expr& expr) {
  std::vector<Value> items;
  items.reserve(expr.operands.size());
  for (const auto& operand : expr.operands) items.push_back(Eval(*operand));
  return expr.kind == ExprKind::kTuple ? Value::MakeTuple(std::move(items))
                                       : Value::MakeList(std::move(items));
}

Value Interpreter::EvalDict(const Expr& expr) {
  auto dict = std::make_shared<Dict>();
  for (size_t i = 0; i < expr.operands.size(); i += 2) {
    Value key = Eval(*expr.operands[i]);
    dict->Set(std::move(key), Eval(*expr.operands[i + 1]));
  }
  return Value(std::shared_ptr<const Dict>(std::move(dict)));
}

Value Interpreter::EvalSlice(const Expr& expr) {
  const Value value = Eval(*expr.operands[0]);
  Value bounds[3];
  for (size_t i = 0; i < 3; ++i) {
    if (expr.operands[i + 1]) bounds[i] = Eval(*expr.operands[i + 1]);
  }
  return Slice(value, bounds[0], bounds[1], bounds[2]);
}

Args Interpreter::EvalArguments(const Expr& expr) {
  Args args;
  for (const auto& argument : expr.positional) args.positional.push_back(Eval(*argument));
  for (const auto& [name, argument] : expr.keyword)
    args.keyword.emplace_back(name, Eval(*argument));
  if (expr.star) {
    for (Value& item : Iterate(Eval(*expr.star))) args.positional.push_back(std::move(item));
  }
  if (expr.double_star) {
    const Value named = Eval(*expr.double_star);
    if (!named.is_dict()) Fail("argument after ** must be a mapping");
    for (const auto& [key, value] : named.as_dict().entries()) {
      if (!key.is_string()) Fail("keywords must be strings");
      args.keyword.emplace_back(key.as_string(), value);
    }
  }
  for (size_t i = 0; i < args.keyword.size(); ++i) {
    ChargeSteps(i / 8);
    for (size_t j = 0; j < i; ++j) {
      if (args.keyword[i].first == args.keyword[j].first) {
        Fail("got multiple values for keyword argument '" + args.keyword[i].first + "'");
      }
    }
  }
  return args;
}

Value Interpreter::EvalCall(const Expr& expr, std::optional<Value> caller) {
  const Value callee = Eval(*expr.operands[0]);
  Args args = EvalArguments(expr);
  if (caller) args.keyword.emplace_back("caller", *std::move(caller));
  line_ = expr.line;
  Value result = Call(callee, std::move(args));
  line_ = expr.line;
  return result;
}

Value Interpreter::Call(const Value& callee, Args args) {
  RequireDefined(callee);
  if (!callee.is_object() || !callee.as_object().callable()) {
    Fail("'" + std::string(TypeName(callee)) + "' object is not callable");
  }
  return callee.as_object().Call(this, std::move(args));
}

Value Interpreter::EvalFilter(const Expr& expr, const Value* input) {
  const Expr* operand = expr.operands[0].get();
  if (expr.filter == nullptr) FailUnsupported(expr.line, FilterRefusal(expr.name));
  Value value;
  if (operand == nullptr) {
    value = *input;
  } else {
    // In a filter block the chain's innermost operand is the block's text.
    value = operand->kind == ExprKind::kFilter ? EvalFilter(*operand, input) : Eval(*operand);
  }
  ChargeSteps(1);
  const Args args = EvalArguments(expr);
  line_ = expr.line;
  return expr.filter->apply(this, value, args);
}

Value Interpreter::EvalTest(const Expr& expr) {
  if (expr.test == nullptr) FailUnsupported(expr.line, "No test named '" + expr.name + "'.");
  const Value value = Eval(*expr.operands[0]);
  return Value(expr.test->apply(this, value, EvalArguments(expr)));
}

Value Interpreter::EvalArithmetic(const Expr& expr) {
  const Value left = Eval(*expr.operands[0]);
  const Value right = Eval(*expr.operands[1]);
  return Arithmetic(expr.op, left, right);
}

Value Interpreter::EvalConcatenate(const Expr& expr) {
  TextBuilder text;
  for (const auto& operand : expr.operands) text += ToString(Eval(*operand));
  return Value(text.Take());
}

Value Interpreter::EvalSign(const Expr& expr) {
  Value value = Eval(*expr.operands[0]);
  if (expr.kind == ExprKind::kNegate) return Negate(value);
  if (value.is_bool()) return Value(value.as_int());
  if (value.is_number()) return value;
  RequireDefined(value);
  Fail("bad operand type for unary +: '" + std::string(TypeName(value)) + "'");
}

Value Interpreter::EvalLogic(const Expr& expr) {
  Value value;
  for (const auto& operand : expr.operands) {
    value = Eval(*operand);
    if (Truth(value) == (expr.kind == ExprKind::kOr)) break;
  }
  return value;
}

bool Interpreter::Compare(Comparison comparison, const Value& left, const Value& right) {
  switch (comparison) {
    case Comparison::kEqual:
      return Equal(left, right);
    case Comparison::kNotEqual:
      return !Equal(left, right);
    case Comparison::kLess:
      return Less(left, right);
    case Comparison::kLessEqual:
      return LessEqual(left, right);
    case Comparison::kGreater:
      return Less(right, left);
    case Comparison::kGreaterEqual:
      return LessEqual(right, left);
    case Comparison::kIn:
      return Contains(right, left);
    case Comparison::kNotIn:
      return !Contains(right, left);
  }
  return false;
}

Value Interpreter::EvalCompare(const Expr& expr) {
  Value left = Eval(*expr.operands[0]);
  for (size_t i = 0; i < expr.comparisons.size(); ++i) {
    Value right = Eval(*expr.operands[i + 1]);
    if (!Compare(expr.comparisons[i], left, right)) return Value(false);
    left = std::move(right);
  }
  return Value(true);
}

Value Interpreter::EvalConditional(const Expr& expr) {
  if (Truth(Eval(*expr.operands[1]))) return Eval(*expr.operands[0]);
  if (expr.operands[2]) return Eval(*expr.operands[2]);
  return Value::MakeUndefined("the inline if-expression on line " + std::to_string(expr.line) +
                              " evaluated to false and no else section was defined.");
}

Value Interpreter::GetAttribute(const Value& value, const std::string& name) {
  RequireDefined(value);
  if (value.is_object()) {
    if (std::optional<Value> found = value.as_object().Attribute(name)) return *std::move(found);
  } else if (value.is_namespace()) {
    if (const Value* found = value.as_namespace().attributes.Find(std::string_view(name)))
      return *found;
  } else if (value.is_list() && value.as_list().is_group && (name == "grouper" || name == "list")) {
    return value.as_list().items[name == "grouper" ? 0 : 1];
  } else if (const Method method = FindMethod(value, name)) {
    return Value(std::shared_ptr<Object>(std::make_shared<MethodObject>(value, name, method)));
  } else if (IsMutatingMethod(value, name)) {
    return Value::MakeUndefined("access to attribute '" + name + "' of '" +
                                std::string(TypeName(value)) + "' object is unsafe.");
  } else if (value.is_dict()) {
    if (const Value* found = value.as_dict().Find(std::string_view(name))) return *found;
  }
  return Value::MakeUndefined("'" + TypeRepr(value) + "' has no attribute '" + name + "'");
}

Value Interpreter::GetItem(const Value& value, const Value& key) {
  RequireDefined(value);
  if (!value.is_namespace() && !value.is_object()) {
    if (std::optional<Value> found = Item(value, key)) return *std::move(found);
  }
  if (key.is_string()) {
    return value.is_dict() && FindMethod(value, key.as_string()) == nullptr
               ? Value::MakeUndefined("'dict object' has no attribute " + Repr(key))
               : GetAttribute(value, key.as_string());
  }
  return Value::MakeUndefined(TypeRepr(value) + " has no element " + Repr(key));
}

}  // namespace pingti::text::jinja
