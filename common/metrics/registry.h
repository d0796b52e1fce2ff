// Metrics of one process: typed handles, cheap to copy and to bump from any thread, and the text
// that a Prometheus server scrapes.
//
// Names, help texts, labels and buckets are in metrics.h; router_metrics.h and worker_metrics.h
// hold a process's handles together. The implementation is prometheus-cpp; nothing of it shows
// here.
#pragma once

#include <array>
#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include "common/metrics/spec.h"

namespace prometheus {
class Counter;
class Gauge;
class Histogram;
}  // namespace prometheus

namespace pingti::metrics {

// Handles: values that borrow from the Registry. Thread-safe. A default-made one must not be used.
class Counter {
 public:
  using Impl = prometheus::Counter;
  Counter() = default;
  explicit Counter(Impl* impl) : impl_(impl) {}
  // REQUIRES: by >= 0.
  void Increment(double by = 1);
  double Value() const;

 private:
  Impl* impl_ = nullptr;
};

class Gauge {
 public:
  using Impl = prometheus::Gauge;
  Gauge() = default;
  explicit Gauge(Impl* impl) : impl_(impl) {}
  void Set(double value);
  void Increment(double by = 1);
  void Decrement(double by = 1);
  double Value() const;

 private:
  Impl* impl_ = nullptr;
};

class Histogram {
 public:
  using Impl = prometheus::Histogram;
  Histogram() = default;
  explicit Histogram(Impl* impl) : impl_(impl) {}
  void Observe(double value);

 private:
  Impl* impl_ = nullptr;
};

namespace internal {
// The series of one metric, by label values. Thread-safe.
template <typename Impl>
class Series {
 public:
  virtual ~Series() = default;
  virtual Impl* Get(const std::string_view* values) = 0;
  virtual void Remove(const std::string_view* values) = 0;
};
}  // namespace internal

// A metric with N labels. Keep the handle that With returns where the hot path is: With takes a
// lock and a look-up. Thread-safe.
template <typename Handle, size_t N>
class Family {
 public:
  Family() = default;
  explicit Family(internal::Series<typename Handle::Impl>* series) : series_(series) {}

  // The series for these label values, in the spec's order. Past the registry's limit of series,
  // new values all share one series whose labels read "other".
  Handle With(const std::array<std::string_view, N>& values) const {
    return Handle(series_->Get(values.data()));
  }

  // Ends a series, for label values that are gone for good (a worker that was taken away). Handles
  // to it must not be used any more. No-op where there is none.
  void Remove(const std::array<std::string_view, N>& values) const {
    series_->Remove(values.data());
  }

 private:
  internal::Series<typename Handle::Impl>* series_ = nullptr;
};

// Owns all metrics of a process; handles must not outlive it. Thread-safe.
class Registry {
 public:
  // Values per label come from requests and from cluster state: `max_series` bounds what one metric
  // can grow to.
  explicit Registry(size_t max_series = 500);
  ~Registry();
  Registry(const Registry&) = delete;
  Registry& operator=(const Registry&) = delete;

  // REQUIRES: each spec is added at most once. Without labels the metric exists from here on, at 0.
  Counter Add(const CounterSpec<0>& spec);
  Gauge Add(const GaugeSpec<0>& spec);
  Histogram Add(const HistogramSpec<0>& spec);
  template <size_t N>
  Family<Counter, N> Add(const CounterSpec<N>& spec) {
    return Family<Counter, N>(AddCounters(spec.name, spec.help, spec.labels.data(), N));
  }
  template <size_t N>
  Family<Gauge, N> Add(const GaugeSpec<N>& spec) {
    return Family<Gauge, N>(AddGauges(spec.name, spec.help, spec.labels.data(), N));
  }
  template <size_t N>
  Family<Histogram, N> Add(const HistogramSpec<N>& spec) {
    return Family<Histogram, N>(
        AddHistograms(spec.name, spec.help, spec.labels.data(), N, spec.buckets));
  }

  // Adds CPU time, memory, descriptors, threads and start time of this process, read from /proc at
  // each scrape, and pingti_build_info.
  void AddProcessMetrics(std::string_view process_name);

  // The text exposition format, version 0.0.4.
  std::string Serialize() const;

 private:
  struct Impl;
  internal::Series<prometheus::Counter>* AddCounters(std::string_view name, std::string_view help,
                                                     const std::string_view* labels,
                                                     size_t num_labels);
  internal::Series<prometheus::Gauge>* AddGauges(std::string_view name, std::string_view help,
                                                 const std::string_view* labels, size_t num_labels);
  internal::Series<prometheus::Histogram>* AddHistograms(std::string_view name,
                                                         std::string_view help,
                                                         const std::string_view* labels,
                                                         size_t num_labels, Buckets buckets);

  std::unique_ptr<Impl> impl_;
};

}  // namespace pingti::metrics
