// The four sources, what each may say, and the messages when it may not.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <fstream>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "common/base/version.h"
#include "common/config/load.h"
#include "common/config/schema.h"

namespace pingti::config {
namespace {

using std::chrono::milliseconds;
using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

enum class Policy { kLeastLoaded, kPrefix };

struct Settings {
  std::string model;
  std::string bind = "127.0.0.1";
  uint16_t port = 8080;
  int64_t max_batch_tokens = 8192;
  int32_t max_batch_size = 64;
  double gpu_memory_fraction = 0.9;
  bool log_requests = false;
  milliseconds max_queue_delay{5};
  int64_t grpc_max_message_bytes = 100 << 20;
  std::vector<std::string> workers;
  Policy policy = Policy::kLeastLoaded;
  uint64_t seed = 1;
};

// One process's settings with everything around them.
class ConfigTest : public ::testing::Test {
 protected:
  ConfigTest()
      : schema_("pingti-test", "Tests settings."),
        path_(::testing::TempDir() + "config_test." + std::to_string(::getpid()) + ".yaml") {
    schema_.Group("Network");
    schema_.Add("bind", &settings_.bind, "Address to listen on.");
    schema_.Add("port", &settings_.port, "Port of the API.").Range(1, 65535);
    schema_
        .AddBytes("grpc_max_message_bytes", &settings_.grpc_max_message_bytes, "Largest message.")
        .Range(1 << 10, 1 << 30)
        .Env("GRPC_MAX_MESSAGE_LENGTH");
    schema_.Add("workers", &settings_.workers, "Addresses of workers.");
    schema_.Group("Engine");
    schema_.Add("max_batch_tokens", &settings_.max_batch_tokens, "Tokens of a step.")
        .Range(1, 1 << 20);
    schema_.Add("max_batch_size", &settings_.max_batch_size, "Sequences of a step.")
        .Range(1, 65536)
        .Env("BATCH_SIZE");
    schema_.Add("gpu_memory_fraction", &settings_.gpu_memory_fraction, "Share of memory.")
        .Range(0.05, 0.98)
        .Env("GPU_MEMORY_FRACTION");
    schema_.Add("log_requests", &settings_.log_requests, "Logs each request.");
    schema_.Add("max_queue_delay", &settings_.max_queue_delay, "Longest wait for a batch.")
        .Range(milliseconds(0), milliseconds(1000));
    schema_.AddEnum("policy", &settings_.policy,
                    {{"least_loaded", Policy::kLeastLoaded}, {"prefix", Policy::kPrefix}},
                    "How a worker is chosen.");
    schema_.Add("seed", &settings_.seed, "Seed.");
  }

  absl::StatusOr<std::optional<std::string>> LoadFrom(std::vector<std::string> flags,
                                                      std::vector<std::string> environment = {}) {
    std::vector<const char*> argv = {"pingti-test"};
    for (const std::string& flag : flags) argv.push_back(flag.c_str());
    std::vector<const char*> variables;
    for (const std::string& variable : environment) variables.push_back(variable.c_str());
    variables.push_back(nullptr);
    return Load(schema_, static_cast<int>(argv.size()), argv.data(), variables.data());
  }

  // The message of a load that has to fail.
  std::string ErrorOf(std::vector<std::string> flags, std::vector<std::string> environment = {}) {
    const auto loaded = LoadFrom(std::move(flags), std::move(environment));
    EXPECT_FALSE(loaded.ok());
    return std::string(loaded.status().message());
  }

  // Writes the file path_.
  void WriteYaml(const std::string& text) { std::ofstream(path_) << text; }

  std::string YamlError(const std::string& text) {
    WriteYaml(text);
    return ErrorOf({"--config", path_});
  }

  void TearDown() override { std::remove(path_.c_str()); }

  Settings settings_;
  Schema schema_;
  const std::string path_;
};

TEST_F(ConfigTest, DefaultsAreWhatTheStructHolds) {
  const auto loaded = LoadFrom({});
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_FALSE(loaded->has_value());
  EXPECT_EQ(settings_.port, 8080);
  EXPECT_EQ(settings_.policy, Policy::kLeastLoaded);
}

TEST_F(ConfigTest, YamlSetsEveryType) {
  WriteYaml(
      "# comment\nbind: '::1'\nport: 9000\ngrpc_max_message_bytes: 2MiB\n"
      "workers: [a:1, \"b:2\"]\nmax_batch_tokens: 4096\nmax_batch_size: 8\n"
      "gpu_memory_fraction: 0.5\nlog_requests: yes\nmax_queue_delay: 20ms\npolicy: prefix\n"
      "seed: 18446744073709551615\n");
  const auto loaded = LoadFrom({"--config=" + path_});
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ(settings_.bind, "::1");
  EXPECT_EQ(settings_.port, 9000);
  EXPECT_EQ(settings_.grpc_max_message_bytes, 2 << 20);
  EXPECT_THAT(settings_.workers, ElementsAre("a:1", "b:2"));
  EXPECT_EQ(settings_.max_batch_tokens, 4096);
  EXPECT_EQ(settings_.max_batch_size, 8);
  EXPECT_EQ(settings_.gpu_memory_fraction, 0.5);
  EXPECT_TRUE(settings_.log_requests);
  EXPECT_EQ(settings_.max_queue_delay, milliseconds(20));
  EXPECT_EQ(settings_.policy, Policy::kPrefix);
  EXPECT_EQ(settings_.seed, std::numeric_limits<uint64_t>::max());
}

TEST_F(ConfigTest, LaterSourcesWin) {
  WriteYaml("port: 1001\nmax_batch_tokens: 1001\nmax_batch_size: 1001\n");
  const auto loaded = LoadFrom({"--port", "1003"}, {"PINGTI_PORT=1002", "PINGTI_CONFIG=" + path_,
                                                    "PINGTI_MAX_BATCH_TOKENS=1002"});
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ(settings_.port, 1003);
  EXPECT_EQ(settings_.max_batch_tokens, 1002);
  EXPECT_EQ(settings_.max_batch_size, 1001);
}

TEST_F(ConfigTest, NamesFromRecipesWork) {
  const auto loaded = LoadFrom(
      {}, {"GPU_MEMORY_FRACTION=0.8", "BATCH_SIZE=32", "GRPC_MAX_MESSAGE_LENGTH=100M", "HOME=/"});
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ(settings_.gpu_memory_fraction, 0.8);
  EXPECT_EQ(settings_.max_batch_size, 32);
  EXPECT_EQ(settings_.grpc_max_message_bytes, 100 << 20);
}

TEST_F(ConfigTest, TwoNamesOfOneKeyMustAgree) {
  EXPECT_TRUE(LoadFrom({}, {"BATCH_SIZE=32", "PINGTI_MAX_BATCH_SIZE=32"}).ok());
  EXPECT_EQ(ErrorOf({}, {"BATCH_SIZE=32", "PINGTI_MAX_BATCH_SIZE=16"}),
            "environment variables PINGTI_MAX_BATCH_SIZE='16' and BATCH_SIZE='32' both set "
            "max_batch_size: set one of them");
}

TEST_F(ConfigTest, ListsComeWithCommasAndRepeatedFlags) {
  ASSERT_TRUE(LoadFrom({}, {"PINGTI_WORKERS=a:1,b:2"}).ok());
  EXPECT_THAT(settings_.workers, ElementsAre("a:1", "b:2"));
  ASSERT_TRUE(LoadFrom({"--workers=c:1,d:2", "--workers", "e:3"}, {"PINGTI_WORKERS=a:1"}).ok());
  EXPECT_THAT(settings_.workers, ElementsAre("c:1", "d:2", "e:3"));
  ASSERT_TRUE(LoadFrom({"--workers="}).ok());
  EXPECT_THAT(settings_.workers, IsEmpty());
}

TEST_F(ConfigTest, ABooleanFlagNeedsNoValue) {
  ASSERT_TRUE(LoadFrom({"--log-requests", "--port", "81"}).ok());
  EXPECT_TRUE(settings_.log_requests);
  ASSERT_TRUE(LoadFrom({"--log-requests=false"}).ok());
  EXPECT_FALSE(settings_.log_requests);
}

TEST_F(ConfigTest, UnknownNamesGetTheNearestKnownOne) {
  EXPECT_EQ(YamlError("port: 80\n\nmax_batch_token: 9\n"),
            "unknown key 'max_batch_token' in " + path_ + ":3; did you mean 'max_batch_tokens'?");
  EXPECT_EQ(ErrorOf({"--max-batch-token=9"}),
            "unknown flag '--max-batch-token'; did you mean '--max-batch-tokens'?");
  EXPECT_EQ(ErrorOf({"--confg", "x"}), "unknown flag '--confg'; did you mean '--config'?");
  EXPECT_EQ(ErrorOf({}, {"PINGTI_MAX_BATCH_TOKEN=9"}),
            "unknown environment variable 'PINGTI_MAX_BATCH_TOKEN'; did you mean "
            "'PINGTI_MAX_BATCH_TOKENS'?");
  EXPECT_EQ(YamlError("zzzzzzzz: 1\n"), "unknown key 'zzzzzzzz' in " + path_ + ":1");
}

TEST_F(ConfigTest, KubernetesServiceVariablesAreNoSettings) {
  const auto loaded = LoadFrom(
      {}, {"PINGTI_ROUTER_SERVICE_HOST=10.0.0.1", "PINGTI_ROUTER_SERVICE_PORT=80",
           "PINGTI_ROUTER_SERVICE_PORT_HTTP=80", "PINGTI_ROUTER_PORT=tcp://10.0.0.1:80",
           "PINGTI_ROUTER_PORT_80_TCP=tcp://10.0.0.1:80", "PINGTI_ROUTER_PORT_80_TCP_ADDR=10.0.0.1",
           "PINGTI_ROUTER_PORT_80_TCP_PORT=80", "PINGTI_ROUTER_PORT_80_TCP_PROTO=tcp",
           // A Service named "pingti" makes the name of our own key.
           "PINGTI_PORT=tcp://10.0.0.1:80"});
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ(settings_.port, 8080);
  EXPECT_THAT(ErrorOf({}, {"PINGTI_ROUTER_PORT=80"}), HasSubstr("PINGTI_ROUTER_PORT"));
}

TEST_F(ConfigTest, WrongValuesNameKeyValueSourceAndExpectation) {
  EXPECT_EQ(ErrorOf({"--port", "eighty"}),
            "port from flag --port is 'eighty': expected an integer in [0, 65535]");
  EXPECT_EQ(ErrorOf({"--port", "65536"}),
            "port from flag --port is '65536': expected an integer in [0, 65535]");
  EXPECT_EQ(ErrorOf({"--port=0"}), "port from flag --port is '0': expected a value in [1, 65535]");
  EXPECT_EQ(ErrorOf({}, {"BATCH_SIZE=many"}),
            "max_batch_size from environment variable BATCH_SIZE is 'many': expected an integer in "
            "[-2147483648, 2147483647]");
  EXPECT_EQ(YamlError("\ngpu_memory_fraction: 1.5\n"),
            "gpu_memory_fraction from " + path_ + ":2 is '1.5': expected a value in [0.05, 0.98]");
  EXPECT_EQ(YamlError("max_queue_delay: 5\n"),
            "max_queue_delay from " + path_ +
                ":1 is '5': expected a duration such as 250ms, 30s or 1.5h");
  EXPECT_EQ(YamlError("max_queue_delay: 2s\n"),
            "max_queue_delay from " + path_ + ":1 is '2s': expected a value in [0ms, 1s]");
  EXPECT_THAT(YamlError("grpc_max_message_bytes: huge\n"),
              EndsWith("is 'huge': expected a size such as 100M, 2GiB or 1048576"));
  EXPECT_THAT(YamlError("grpc_max_message_bytes: 2G\n"),
              EndsWith("is '2G': expected a value in [1KiB, 1GiB]"));
  EXPECT_THAT(YamlError("log_requests: maybe\n"), EndsWith("is 'maybe': expected true or false"));
  EXPECT_THAT(YamlError("gpu_memory_fraction: nan\n"), EndsWith("expected a number"));
  EXPECT_THAT(YamlError("seed: -1\n"), EndsWith("is '-1': expected an integer, at least 0"));
  EXPECT_THAT(YamlError("policy: prefx\n"),
              EndsWith("is 'prefx': expected one of least_loaded, prefix; did you mean 'prefix'?"));
}

TEST_F(ConfigTest, WrongShapesInYamlAreNamed) {
  EXPECT_EQ(YamlError("port:\n"), path_ +
                                      ":1: 'port': expected an integer in [0, 65535], found "
                                      "nothing");
  EXPECT_THAT(YamlError("port: [1, 2]\n"), EndsWith("found a list"));
  EXPECT_THAT(YamlError("port: {a: 1}\n"), EndsWith("found a mapping"));
  EXPECT_THAT(YamlError("workers: one\n"),
              EndsWith("expected a list of texts, found a single value"));
  EXPECT_THAT(YamlError("workers: [[a]]\n"), EndsWith("found a nested value"));
  EXPECT_THAT(YamlError("port: 1\nport: 2\n"), EndsWith(":2: 'port' is given twice"));
  EXPECT_THAT(YamlError("- port\n"), EndsWith(":1: expected 'key: value' lines"));
  EXPECT_THAT(YamlError("port: 1\n---\nport: 2\n"),
              EndsWith("expected one YAML document, found 2"));
  EXPECT_THAT(YamlError("port: 1\nbind: \"open"), HasSubstr(path_ + ":"));
}

TEST_F(ConfigTest, AnEmptyFileIsFine) {
  WriteYaml("# nothing\n");
  EXPECT_TRUE(LoadFrom({"--config", path_}).ok());
  WriteYaml("");
  EXPECT_TRUE(LoadFrom({"--config", path_}).ok());
}

TEST_F(ConfigTest, AFileThatCannotBeReadIsNamed) {
  EXPECT_EQ(ErrorOf({"--config", "/nowhere/x.yaml"}),
            "configuration file '/nowhere/x.yaml' cannot be read: No such file or directory");
  EXPECT_THAT(ErrorOf({"--config", "/"}), HasSubstr("'/' cannot be read: Is a directory"));
}

TEST_F(ConfigTest, BadCommandLinesAreNamed) {
  EXPECT_EQ(ErrorOf({"--port"}), "flag --port needs a value");
  EXPECT_EQ(ErrorOf({"--port=1", "--port=2"}), "flag --port is given twice");
  EXPECT_EQ(ErrorOf({"--config=a", "--config=b"}), "flag --config is given twice");
  EXPECT_EQ(ErrorOf({"--help=1"}), "flag --help takes no value");
  EXPECT_EQ(ErrorOf({"serve"}), "unexpected argument 'serve': settings are given as --name value");
  EXPECT_THAT(ErrorOf({"-p"}), HasSubstr("unexpected argument '-p'"));
}

TEST_F(ConfigTest, ARequiredKeyMayComeFromAnySource) {
  schema_.Add("model", &settings_.model, "Model file.").Required();
  EXPECT_EQ(ErrorOf({}),
            "model is not set: give --model, PINGTI_MODEL or 'model:' in the file of --config");
  EXPECT_TRUE(LoadFrom({"--model=m"}).ok());
  EXPECT_TRUE(LoadFrom({}, {"PINGTI_MODEL=m"}).ok());
  WriteYaml("model: m\n");
  EXPECT_TRUE(LoadFrom({"--config", path_}).ok());
}

TEST_F(ConfigTest, ARequiredKeyMayNotBeEmpty) {
  schema_.Add("model", &settings_.model, "Model file.").Required();
  EXPECT_EQ(ErrorOf({"--model="}), "model is empty: expected text");
  EXPECT_EQ(ErrorOf({}, {"PINGTI_MODEL="}), "model is empty: expected text");
  WriteYaml("model: ''\n");
  EXPECT_EQ(ErrorOf({"--config", path_}), "model is empty: expected text");
}

TEST_F(ConfigTest, PrintedConfigLoadsBackTheSame) {
  const auto printed = LoadFrom({"--print-config", "--workers=a b,\"c\"", "--bind=true",
                                 "--max-queue-delay=1s", "--policy=prefix", "--port=81"});
  ASSERT_TRUE(printed.ok()) << printed.status();
  ASSERT_TRUE(printed->has_value());
  EXPECT_THAT(**printed, HasSubstr("# --- Engine\n"));
  EXPECT_THAT(**printed, HasSubstr("# Port of the API.\n# Default 8080; an integer in [0, 65535], "
                                   "range [1, 65535]. Environment: PINGTI_PORT.\nport: 81\n"));
  EXPECT_THAT(**printed, HasSubstr("PINGTI_MAX_BATCH_SIZE, BATCH_SIZE."));
  settings_ = Settings();
  WriteYaml(**printed);
  const auto loaded = LoadFrom({"--config", path_});
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_THAT(settings_.workers, ElementsAre("a b", "\"c\""));
  EXPECT_EQ(settings_.bind, "true");
  EXPECT_EQ(settings_.max_queue_delay, milliseconds(1000));
  EXPECT_EQ(settings_.policy, Policy::kPrefix);
  EXPECT_EQ(settings_.port, 81);
  EXPECT_EQ(settings_.grpc_max_message_bytes, 100 << 20);
}

TEST_F(ConfigTest, APrintedRequiredKeyStillAsks) {
  schema_.Add("model", &settings_.model, "Model file.").Required();
  const auto printed = LoadFrom({"--print-config"});
  ASSERT_TRUE(printed.ok()) << printed.status();
  EXPECT_THAT(**printed, HasSubstr("\n# model: \"\"\n"));
}

TEST_F(ConfigTest, ASecretIsNotPrinted) {
  std::string keys;
  schema_.Add("api_keys", &keys, "Keys.").Secret();
  const auto unset = LoadFrom({"--print-config"});
  EXPECT_THAT(**unset, HasSubstr("\napi_keys: \"\"\n"));
  const auto printed = LoadFrom({"--print-config", "--api-keys=sk-very-secret"});
  ASSERT_TRUE(printed.ok()) << printed.status();
  EXPECT_EQ(keys, "sk-very-secret");
  EXPECT_THAT(**printed, Not(HasSubstr("very-secret")));
  EXPECT_THAT(**printed, HasSubstr("\n# api_keys: is set, and not shown\n"));
}

TEST_F(ConfigTest, HelpNamesEveryKeyAndNeedsNothingElse) {
  schema_.Add("model", &settings_.model, "Model file.").Required();
  const auto help = LoadFrom({"--help"}, {"PINGTI_NONSENSE=1"});
  ASSERT_TRUE(help.ok()) << help.status();
  for (const auto& key : schema_.keys()) {
    EXPECT_THAT(**help, HasSubstr("\n  " + key->flag()));
    EXPECT_THAT(**help, HasSubstr(key->env_names()[0]));
  }
  EXPECT_THAT(**help, HasSubstr("GRPC_MAX_MESSAGE_LENGTH"));
}

TEST_F(ConfigTest, VersionIsTheBuilds) {
  const auto text = LoadFrom({"--version"});
  ASSERT_TRUE(text.ok()) << text.status();
  EXPECT_EQ(**text, "pingti-test " + std::string(Version()) + "\n");
}

}  // namespace
}  // namespace pingti::config
