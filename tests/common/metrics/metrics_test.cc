// The handles, the bound on series, and the text that is scraped.
#include "common/metrics/metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <string>
#include <thread>
#include <vector>

#include "common/metrics/registry.h"
#include "common/metrics/router_metrics.h"
#include "common/metrics/worker_metrics.h"

namespace pingti::metrics {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr CounterSpec<2> kTestRequests{"test_requests_total", "Requests.", {"model", "code"}};
constexpr double kTestBounds[] = {0.1, 1};
constexpr HistogramSpec<0> kTestLatency{"test_latency_seconds", "Latency.", kTestBounds};
constexpr GaugeSpec<0> kTestLevel{"test_level", "Level."};

TEST(RegistryTest, SerializesEachKindInTheTextFormat) {
  Registry registry;
  registry.Add(kTestRequests).With({"smol", "200"}).Increment(3);
  Histogram latency = registry.Add(kTestLatency);
  latency.Observe(0.05);
  latency.Observe(0.5);
  latency.Observe(5);
  Gauge level = registry.Add(kTestLevel);
  level.Set(7);
  level.Decrement(2);

  const std::string text = registry.Serialize();
  EXPECT_THAT(text, HasSubstr("# HELP test_requests_total Requests.\n"));
  EXPECT_THAT(text, HasSubstr("# TYPE test_requests_total counter\n"));
  EXPECT_THAT(text, HasSubstr("test_requests_total{code=\"200\",model=\"smol\"} 3\n"));
  EXPECT_THAT(text, HasSubstr("test_latency_seconds_bucket{le=\"0.1\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("test_latency_seconds_bucket{le=\"1\"} 2\n"));
  EXPECT_THAT(text, HasSubstr("test_latency_seconds_bucket{le=\"+Inf\"} 3\n"));
  EXPECT_THAT(text, HasSubstr("test_latency_seconds_count 3\n"));
  EXPECT_THAT(text, HasSubstr("test_level 5\n"));
}

TEST(RegistryTest, SameLabelsGiveTheSameSeries) {
  Registry registry;
  const auto family = registry.Add(kTestRequests);
  family.With({"a", "200"}).Increment();
  family.With({"a", "200"}).Increment();
  family.With({"a", "500"}).Increment();
  EXPECT_EQ(family.With({"a", "200"}).Value(), 2);
  EXPECT_EQ(family.With({"a", "500"}).Value(), 1);
}

TEST(RegistryTest, LabelValuesPastTheLimitShareOneSeries) {
  Registry registry(/*max_series=*/2);
  const auto family = registry.Add(kTestRequests);
  family.With({"a", "200"}).Increment();
  family.With({"b", "200"}).Increment();
  family.With({"c", "200"}).Increment();
  family.With({"d", "200"}).Increment();
  family.With({"a", "200"}).Increment();
  EXPECT_EQ(family.With({"a", "200"}).Value(), 2);
  EXPECT_EQ(family.With({"other", "other"}).Value(), 2);
  EXPECT_THAT(registry.Serialize(), Not(HasSubstr("model=\"c\"")));
}

TEST(RegistryTest, LabelValuesAreEscaped) {
  Registry registry;
  registry.Add(kTestRequests).With({"a\"b\\c\nd", "200"}).Increment();
  EXPECT_THAT(registry.Serialize(), HasSubstr("model=\"a\\\"b\\\\c\\nd\""));
}

TEST(RegistryTest, CountsFromManyThreads) {
  Registry registry;
  const auto family = registry.Add(kTestRequests);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&family] {
      for (int i = 0; i < 1000; ++i) family.With({"m", i % 2 == 0 ? "200" : "500"}).Increment();
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(family.With({"m", "200"}).Value(), 2000);
  EXPECT_EQ(family.With({"m", "500"}).Value(), 2000);
}

TEST(RegistryTest, ReportsTheProcessItself) {
  Registry registry;
  registry.AddProcessMetrics("pingti-test");
  const std::string text = registry.Serialize();
  EXPECT_THAT(text, HasSubstr("pingti_build_info{process=\"pingti-test\",version=\""));
  for (const char* name :
       {"process_cpu_seconds_total", "process_resident_memory_bytes", "process_threads",
        "process_start_time_seconds", "process_open_fds", "process_max_fds"}) {
    EXPECT_THAT(text, HasSubstr(std::string("\n") + name + " ")) << name;
  }
}

// Touches every family, so that each is in the text.
std::string EveryMetric() {
  Registry registry;
  registry.AddProcessMetrics("pingti-test");
  RouterMetrics router(&registry);
  router.requests.With({"chat", "m", "200"}).Increment();
  router.request_duration_seconds.With({"chat", "m"}).Observe(1);
  router.time_to_first_token_seconds.With({"m"}).Observe(0.1);
  router.inter_token_latency_seconds.With({"m"}).Observe(0.01);
  router.queue_time_seconds.With({"m"}).Observe(0.01);
  router.prompt_tokens.With({"m"}).Increment(9);
  router.output_tokens.With({"m"}).Increment(9);
  router.workers.With({"ready"}).Set(2);
  router.ready_workers.With({"m"}).Set(2);
  router.queued_requests.With({"m"}).Set(2);
  router.worker_dispatch.With({"w"}).Increment();
  registry.Add(kWorkerLoading).With({"m"}).Set(0);
  WorkerMetrics worker(&registry, "m");
  worker.sequences_finished.With({"stop"}).Increment();
  worker.model_info.With({"m", "int8", "cpu"}).Set(1);
  return registry.Serialize();
}

TEST(MetricsTest, PromtoolFindsNothingToSay) {
  if (std::system("promtool --version >/dev/null 2>&1") != 0) GTEST_SKIP() << "no promtool here";
  const std::string path = ::testing::TempDir() + "pingti_metrics.txt";
  std::FILE* const file = std::fopen(path.c_str(), "w");
  ASSERT_NE(file, nullptr);
  const std::string text = EveryMetric();
  ASSERT_EQ(std::fwrite(text.data(), 1, text.size(), file), text.size());
  std::fclose(file);
  std::FILE* const pipe = ::popen(("promtool check metrics <" + path + " 2>&1").c_str(), "r");
  ASSERT_NE(pipe, nullptr);
  std::string output;
  for (int c = std::fgetc(pipe); c != EOF; c = std::fgetc(pipe)) output += static_cast<char>(c);
  EXPECT_EQ(::pclose(pipe), 0);
  EXPECT_EQ(output, "");
  std::remove(path.c_str());
}

}  // namespace
}  // namespace pingti::metrics
