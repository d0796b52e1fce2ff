// See budget.h.
#include "common/text/jinja/budget.h"

#include <algorithm>

#include "common/text/jinja/error.h"

namespace pingti::text::jinja {
namespace {

thread_local Budget* current_budget = nullptr;

}  // namespace

Budget* Budget::current() { return current_budget; }

Budget::Use::Use(Budget* budget) : outer_(std::exchange(current_budget, budget)) {}
Budget::Use::~Use() { current_budget = outer_; }

void Budget::Charge(size_t steps) {
  if (steps > limits_.max_steps - std::min(steps_, limits_.max_steps)) {
    FailLimit("more than " + std::to_string(limits_.max_steps) + " steps");
  }
  steps_ += steps;
}

void Budget::RequireRoom(size_t bytes) const {
  if (bytes > limits_.max_value_bytes - std::min(live_bytes_, limits_.max_value_bytes)) {
    FailLimit("values of more than " + std::to_string(limits_.max_value_bytes) +
              " bytes altogether");
  }
}

void ChargeSteps(size_t steps) {
  if (Budget* budget = Budget::current()) budget->Charge(steps);
}

void ChargeSize(size_t bytes) {
  Budget* budget = Budget::current();
  if (budget == nullptr) return;
  budget->RequireRoom(bytes);
  budget->Charge(bytes / kBytesPerStep + 1);
}

void ChargeText(size_t bytes) {
  const Budget* budget = Budget::current();
  if (budget != nullptr && bytes > budget->limits().max_output_bytes) {
    FailLimit("a text of more than " + std::to_string(budget->limits().max_output_bytes) +
              " bytes");
  }
  ChargeSize(bytes);
}

void TextBuilder::Grow(size_t more) {
  ChargeText(text_.size() + more);
  const size_t limit = budget_->limits().max_output_bytes;
  // Ahead by half of what is there, so that single characters are not charged one by one.
  const size_t wanted = std::min(text_.size() + more + text_.size() / 2 + kBytesPerStep, limit);
  held_.Add(wanted - reserved_);
  reserved_ = wanted;
}

}  // namespace pingti::text::jinja
