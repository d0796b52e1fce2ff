// Families on top of prometheus-cpp, whose exceptions (a bad name or label) end here: they can only
// come from a spec of ours.
#include "common/metrics/registry.h"

#include <prometheus/counter.h>
#include <prometheus/family.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <map>
#include <utility>
#include <vector>

#include "common/base/check.h"
#include "common/base/mutex.h"
#include "common/base/version.h"
#include "common/metrics/metrics.h"
#include "common/metrics/process_metrics.h"

namespace pingti::metrics {

void Counter::Increment(double by) { impl_->Increment(by); }
double Counter::Value() const { return impl_->Value(); }
void Gauge::Set(double value) { impl_->Set(value); }
void Gauge::Increment(double by) { impl_->Increment(by); }
void Gauge::Decrement(double by) { impl_->Decrement(by); }
double Gauge::Value() const { return impl_->Value(); }
void Histogram::Observe(double value) { impl_->Observe(value); }

namespace {

prometheus::Histogram::BucketBoundaries Boundaries(Buckets buckets) {
  return {buckets.begin(), buckets.end()};
}

// The series of one family, remembered by their label values so that the limit can be kept.
template <typename Metric, typename... Args>
class BoundedSeries final : public internal::Series<Metric> {
 public:
  BoundedSeries(prometheus::Family<Metric>* family, const std::string_view* labels,
                size_t num_labels, size_t max_series, Args... args)
      : family_(family),
        labels_(labels, labels + num_labels),
        max_series_(max_series),
        args_(std::move(args)...) {}

  Metric* Get(const std::string_view* values) override {
    std::vector<std::string> key(values, values + labels_.size());
    MutexLock lock(&mutex_);
    if (const auto found = series_.find(key); found != series_.end()) return found->second;
    if (series_.size() >= max_series_) {
      key.assign(labels_.size(), "other");
      if (const auto other = series_.find(key); other != series_.end()) return other->second;
    }
    prometheus::Labels pairs;
    for (size_t i = 0; i < labels_.size(); ++i) pairs.emplace(labels_[i], key[i]);
    Metric* const metric =
        std::apply([&](const auto&... args) { return &family_->Add(pairs, args...); }, args_);
    series_.emplace(std::move(key), metric);
    return metric;
  }

  void Remove(const std::string_view* values) override {
    MutexLock lock(&mutex_);
    const auto found = series_.find(std::vector<std::string>(values, values + labels_.size()));
    if (found == series_.end()) return;
    family_->Remove(found->second);
    series_.erase(found);
  }

 private:
  prometheus::Family<Metric>* const family_;
  const std::vector<std::string> labels_;
  const size_t max_series_;
  const std::tuple<Args...> args_;
  Mutex mutex_;
  std::map<std::vector<std::string>, Metric*> series_ PINGTI_GUARDED_BY(mutex_);
};

}  // namespace

struct Registry::Impl {
  explicit Impl(size_t max) : max_series(max) {}

  // Keeps the series for the registry's lifetime.
  template <typename Metric, typename... Args>
  internal::Series<Metric>* Keep(std::vector<std::unique_ptr<internal::Series<Metric>>>& all,
                                 prometheus::Family<Metric>& family, const std::string_view* labels,
                                 size_t num_labels, Args... args) {
    auto series = std::make_unique<BoundedSeries<Metric, Args...>>(&family, labels, num_labels,
                                                                   max_series, std::move(args)...);
    MutexLock lock(&mutex);
    all.push_back(std::move(series));
    return all.back().get();
  }

  const size_t max_series;
  // Throws when a name is added twice with other labels or another type.
  prometheus::Registry families{prometheus::Registry::InsertBehavior::Throw};
  Mutex mutex;
  std::vector<std::unique_ptr<internal::Series<prometheus::Counter>>> counters;
  std::vector<std::unique_ptr<internal::Series<prometheus::Gauge>>> gauges;
  std::vector<std::unique_ptr<internal::Series<prometheus::Histogram>>> histograms;
  std::unique_ptr<ProcessMetrics> process;
};

Registry::Registry(size_t max_series) : impl_(std::make_unique<Impl>(max_series)) {
  PINGTI_CHECK(max_series > 0);
}
Registry::~Registry() = default;

internal::Series<prometheus::Counter>* Registry::AddCounters(std::string_view name,
                                                             std::string_view help,
                                                             const std::string_view* labels,
                                                             size_t num_labels) {
  auto& family = prometheus::BuildCounter()
                     .Name(std::string(name))
                     .Help(std::string(help))
                     .Register(impl_->families);
  return impl_->Keep(impl_->counters, family, labels, num_labels);
}

internal::Series<prometheus::Gauge>* Registry::AddGauges(std::string_view name,
                                                         std::string_view help,
                                                         const std::string_view* labels,
                                                         size_t num_labels) {
  auto& family = prometheus::BuildGauge()
                     .Name(std::string(name))
                     .Help(std::string(help))
                     .Register(impl_->families);
  return impl_->Keep(impl_->gauges, family, labels, num_labels);
}

internal::Series<prometheus::Histogram>* Registry::AddHistograms(std::string_view name,
                                                                 std::string_view help,
                                                                 const std::string_view* labels,
                                                                 size_t num_labels,
                                                                 Buckets buckets) {
  auto& family = prometheus::BuildHistogram()
                     .Name(std::string(name))
                     .Help(std::string(help))
                     .Register(impl_->families);
  return impl_->Keep(impl_->histograms, family, labels, num_labels, Boundaries(buckets));
}

Counter Registry::Add(const CounterSpec<0>& spec) {
  return Counter(AddCounters(spec.name, spec.help, nullptr, 0)->Get(nullptr));
}
Gauge Registry::Add(const GaugeSpec<0>& spec) {
  return Gauge(AddGauges(spec.name, spec.help, nullptr, 0)->Get(nullptr));
}
Histogram Registry::Add(const HistogramSpec<0>& spec) {
  return Histogram(AddHistograms(spec.name, spec.help, nullptr, 0, spec.buckets)->Get(nullptr));
}

void Registry::AddProcessMetrics(std::string_view process_name) {
  PINGTI_CHECK(impl_->process == nullptr);
  Add(kBuildInfo).With({process_name, Version()}).Set(1);
  impl_->process = std::make_unique<ProcessMetrics>();
}

std::string Registry::Serialize() const {
  std::vector<prometheus::MetricFamily> families = impl_->families.Collect();
  if (impl_->process != nullptr) {
    for (prometheus::MetricFamily& family : impl_->process->Collect()) {
      families.push_back(std::move(family));
    }
  }
  return prometheus::TextSerializer().Serialize(families);
}

}  // namespace pingti::metrics
