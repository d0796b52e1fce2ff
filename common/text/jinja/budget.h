// What one rendering may use: steps of work, and bytes of the values that are alive.
//
// Values are made, copied, printed and compared in a hundred places, and each of them must count,
// whatever is shared: a list that holds itself twice at thirty levels prints as a billion items.
// So the budget is not an argument that one place may forget: a rendering makes its budget current
// for its thread, and the values themselves take from it. Without a current budget (while parsing)
// nothing is counted. Confined to the thread that renders; errors are thrown (error.h).
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>

#include "common/text/jinja/template.h"

namespace pingti::text::jinja {

// Text is read and copied at least this fast.
inline constexpr size_t kBytesPerStep = 64;

class Budget {
 public:
  explicit Budget(const Limits& limits) : limits_(limits) {}
  Budget(const Budget&) = delete;
  Budget& operator=(const Budget&) = delete;

  // Null when nothing is rendered on this thread.
  static Budget* current();

  // Makes a budget current while it is alive.
  class Use {
   public:
    explicit Use(Budget* budget);
    ~Use();
    Use(const Use&) = delete;
    Use& operator=(const Use&) = delete;

   private:
    Budget* outer_;
  };

  void Charge(size_t steps);
  // Fails unless that many more bytes may be alive.
  void RequireRoom(size_t bytes) const;
  void Take(size_t bytes) {
    RequireRoom(bytes);
    live_bytes_ += bytes;
  }
  void Release(size_t bytes) { live_bytes_ -= bytes; }
  const Limits& limits() const { return limits_; }

 private:
  const Limits limits_;
  size_t steps_ = 0;
  size_t live_bytes_ = 0;
};

// Charge the current budget, if there is one.
void ChargeSteps(size_t steps);
// For text or lists of that many bytes about to be read, copied or made: work, and room for them.
void ChargeSize(size_t bytes);
// The same for one text, which must be within its own limit too.
void ChargeText(size_t bytes);

// Bytes of the current budget that are given back when it ends. A copy takes as many again. The
// budget must outlive it.
class Held {
 public:
  explicit Held(size_t bytes = 0) : budget_(Budget::current()) { Add(bytes); }
  Held(const Held& other) : Held(other.bytes_) { ChargeSteps(bytes_ / kBytesPerStep); }
  Held(Held&& other) noexcept : budget_(other.budget_), bytes_(std::exchange(other.bytes_, 0)) {}
  Held& operator=(Held other) noexcept {
    std::swap(budget_, other.budget_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  ~Held() { Release(); }

  void Add(size_t bytes) {
    if (budget_ == nullptr) return;
    budget_->Take(bytes);
    bytes_ += bytes;
  }
  void Release() {
    if (budget_ != nullptr) budget_->Release(std::exchange(bytes_, 0));
  }

 private:
  Budget* budget_;
  size_t bytes_ = 0;
};

// A text that is charged while it grows. Fails beyond the limit of one text.
class TextBuilder {
 public:
  TextBuilder() : budget_(Budget::current()) {}

  TextBuilder& operator+=(std::string_view text) {
    Reserve(text.size());
    text_ += text;
    return *this;
  }
  TextBuilder& operator+=(char c) {
    Reserve(1);
    text_ += c;
    return *this;
  }
  void Append(size_t count, char c) {
    Reserve(count);
    text_.append(count, c);
  }
  size_t size() const { return text_.size(); }
  bool empty() const { return text_.empty(); }
  std::string Take() { return std::move(text_); }

 private:
  void Reserve(size_t more) {
    if (budget_ != nullptr && text_.size() + more > reserved_) Grow(more);
  }
  void Grow(size_t more);

  Budget* budget_;
  std::string text_;
  Held held_;
  size_t reserved_ = 0;  // bytes that are charged
};

}  // namespace pingti::text::jinja
