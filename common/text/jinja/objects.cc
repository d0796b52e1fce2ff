// See objects.h.
#include "common/text/jinja/objects.h"

#include <algorithm>
#include <utility>

#include "common/text/jinja/error.h"
#include "common/text/jinja/value_ops.h"

namespace pingti::text::jinja {

std::string LoopObject::Repr() const {
  return "<LoopContext " + std::to_string(index_ + 1) + "/" + std::to_string(items_->items.size()) +
         ">";
}

Value LoopObject::Call(Interpreter* interpreter, Args args) {
  if (!stmt_->recursive) {
    Fail("The loop must have the 'recursive' marker to be called recursively.");
  }
  if (scope_ == nullptr) Fail("loop called after its block ended");
  const BoundArgs bound("loop", args, {"iterable"});
  return Value(interpreter->RunRecursiveLoop(*stmt_, scope_, bound.Required(0), nesting_ + 1));
}

bool LoopObject::Changed(Args args) {
  const bool same =
      last_changed_ && last_changed_->size() == args.positional.size() &&
      std::equal(last_changed_->begin(), last_changed_->end(), args.positional.begin(), Equal);
  if (!same) last_changed_ = std::move(args.positional);
  return !same;
}

Value LoopObject::Cycle(const Args& args) const {
  if (args.positional.empty()) Fail("no items for cycling given");
  return args.positional[index_ % args.positional.size()];
}

std::optional<Value> LoopObject::Attribute(std::string_view name) {
  const auto number = [](size_t n) { return Value(static_cast<int64_t>(n)); };
  const std::vector<Value>& items = items_->items;
  if (name == "index") return number(index_ + 1);
  if (name == "index0") return number(index_);
  if (name == "revindex") return number(items.size() - index_);
  if (name == "revindex0") return number(items.size() - index_ - 1);
  if (name == "first") return Value(index_ == 0);
  if (name == "last") return Value(index_ + 1 == items.size());
  if (name == "length") return number(items.size());
  if (name == "depth") return number(static_cast<size_t>(nesting_) + 1);
  if (name == "depth0") return number(static_cast<size_t>(nesting_));
  if (name == "previtem") {
    return index_ > 0 ? items[index_ - 1] : Value::MakeUndefined("there is no previous item");
  }
  if (name == "nextitem") {
    return index_ + 1 < items.size() ? items[index_ + 1]
                                     : Value::MakeUndefined("there is no next item");
  }
  if (name == "cycle" || name == "changed") {
    const bool is_cycle = name == "cycle";
    auto function = [self = shared_from_this(), is_cycle](Interpreter*, Args args) {
      return is_cycle ? self->Cycle(args) : Value(self->Changed(std::move(args)));
    };
    return Value(std::shared_ptr<Object>(
        std::make_shared<FunctionObject>(std::string(name), std::move(function), depth() + 1)));
  }
  return std::nullopt;
}

std::optional<Value> MacroObject::Attribute(std::string_view name) {
  if (name == "name") return Value(stmt_->text);
  if (name == "arguments") {
    std::vector<Value> names;
    for (const Parameter& parameter : stmt_->parameters) names.emplace_back(parameter.name);
    return Value::MakeTuple(std::move(names));
  }
  if (name == "catch_kwargs") return Value(stmt_->uses_kwargs);
  if (name == "catch_varargs") return Value(stmt_->uses_varargs);
  if (name == "caller") return Value(stmt_->uses_caller);
  return std::nullopt;
}

std::optional<Value> CyclerObject::Attribute(std::string_view name) {
  if (name == "current") return items_[position_];
  if (name != "next" && name != "reset") return std::nullopt;
  const bool is_next = name == "next";
  auto function = [self = shared_from_this(), is_next](Interpreter*, Args) {
    if (!is_next) {
      self->position_ = 0;
      return Value();
    }
    const size_t current =
        std::exchange(self->position_, (self->position_ + 1) % self->items_.size());
    return self->items_[current];
  };
  return Value(std::shared_ptr<Object>(
      std::make_shared<FunctionObject>(std::string(name), std::move(function), depth() + 1)));
}

Value JoinerObject::Call(Interpreter* interpreter, Args args) {
  return std::exchange(used_, true) ? Value(separator_) : Value("");
}

}  // namespace pingti::text::jinja
