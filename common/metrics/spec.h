// What a metric is: name, help, label names, buckets. metrics.h lists pingti's.
#pragma once

#include <array>
#include <cstddef>
#include <span>
#include <string_view>

namespace pingti::metrics {

// Upper bounds of a histogram's buckets, rising; +Inf is added.
using Buckets = std::span<const double>;

template <size_t N>
struct CounterSpec {
  std::string_view name;  // ends in _total
  std::string_view help;
  std::array<std::string_view, N> labels{};
};

template <size_t N>
struct GaugeSpec {
  std::string_view name;
  std::string_view help;
  std::array<std::string_view, N> labels{};
};

template <size_t N>
struct HistogramSpec {
  std::string_view name;
  std::string_view help;
  Buckets buckets;
  std::array<std::string_view, N> labels{};
};

}  // namespace pingti::metrics
