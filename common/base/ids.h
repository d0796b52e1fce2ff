// Ids that must not mix are distinct types.
//
//   using SequenceId = pingti::StrongId<struct SequenceIdTag, uint64_t>;
#pragma once

#include <compare>
#include <cstddef>
#include <functional>
#include <ostream>

namespace pingti {

// A value: ordered, hashable, converts to its number only when asked.
template <typename Tag, typename Number>
class StrongId {
 public:
  constexpr StrongId() = default;
  constexpr explicit StrongId(Number value) : value_(value) {}

  constexpr Number value() const { return value_; }

  friend constexpr auto operator<=>(StrongId, StrongId) = default;
  template <typename H>
  friend H AbslHashValue(H state, StrongId id) {
    return H::combine(std::move(state), id.value_);
  }
  friend std::ostream& operator<<(std::ostream& out, StrongId id) { return out << id.value_; }

 private:
  Number value_{};
};

}  // namespace pingti

template <typename Tag, typename Number>
struct std::hash<pingti::StrongId<Tag, Number>> {
  size_t operator()(pingti::StrongId<Tag, Number> id) const {
    return std::hash<Number>()(id.value());
  }
};
