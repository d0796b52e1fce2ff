#include "router/admission/api_keys.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include "common/base/sha256.h"
#include "common/base/strings.h"
#include "router/admission/api_keys_source.h"
#include "tests/testing/fake_clock.h"

namespace pingti::router {
namespace {

std::string NameOf(const ApiKeys& keys, const std::string& key) {
  const absl::StatusOr<Tenant> tenant = keys.Authenticate("Bearer " + key);
  return tenant.ok() ? tenant->name : Concat("refused: ", std::string(tenant.status().message()));
}

// One key of a YAML file, with further lines.
std::string YamlKey(const std::string& name, const std::string& key, const std::string& more = "") {
  return Concat("- name: ", name, "\n  sha256: ", ToHex(Sha256(key)), "\n", more);
}

std::string ErrorOf(const std::string& text) {
  return std::string(ApiKeys::Parse(text).status().message());
}

TEST(ApiKeys, NameTheTenant) {
  const absl::StatusOr<ApiKeys> keys = ApiKeys::Parse("# comment\nalice:secret-a\n\nsecret-b\r\n");
  ASSERT_TRUE(keys.ok()) << keys.status();
  EXPECT_EQ(NameOf(*keys, "secret-a"), "alice");
  EXPECT_EQ(NameOf(*keys, "secret-b"), "key-2");
  EXPECT_TRUE(absl::IsUnauthenticated(keys->Authenticate("Bearer secret").status()));
  EXPECT_TRUE(absl::IsUnauthenticated(keys->Authenticate("").status()));
}

TEST(ApiKeys, AKeyMayHaveACeilingOfPriority) {
  const absl::StatusOr<ApiKeys> keys =
      ApiKeys::Parse("alice:secret-a max_priority=5\nsecret-b \tmax_priority=-1\nbob:secret-c\n");
  ASSERT_TRUE(keys.ok()) << keys.status();
  EXPECT_EQ(NameOf(*keys, "secret-a"), "alice");
  EXPECT_EQ(NameOf(*keys, "secret-b"), "key-2");
  EXPECT_EQ(keys->tenants().at("alice").max_priority, 5);
  EXPECT_EQ(keys->tenants().at("key-2").max_priority, -1);
  EXPECT_FALSE(keys->tenants().at("bob").max_priority.has_value());
  EXPECT_NE(ErrorOf("a\nb max_priority=high\n").find("line 2: max_priority is 'high'"),
            std::string::npos);
}

TEST(ApiKeys, NewOnesReplaceThoseOfBefore) {
  absl::StatusOr<ApiKeys> keys = ApiKeys::Parse("alice:old\n");
  keys->Replace(*ApiKeys::Parse("alice:new max_priority=3\n"));
  EXPECT_FALSE(keys->Authenticate("Bearer old").ok());
  EXPECT_EQ(NameOf(*keys, "new"), "alice");
  EXPECT_EQ(keys->tenants().at("alice").max_priority, 3);
}

TEST(ApiKeys, WithoutKeysEverybodyMayAsk) {
  EXPECT_EQ(ApiKeys().Authenticate("")->name, "");
  EXPECT_EQ(NameOf(ApiKeys(), "anything"), "");
}

TEST(ApiKeys, RefuseBadLinesByNumber) {
  EXPECT_NE(ErrorOf("a\nb:\n").find("line 2"), std::string::npos);
  EXPECT_NE(ErrorOf("a\na\n").find("line 2"), std::string::npos);
  for (const char* line : {"nonsense: {", "- name: \"x\"", "a:b c", "a: [b]", "a: 'b'"}) {
    EXPECT_NE(ErrorOf(std::string("k\n") + line).find("line 2"), std::string::npos) << line;
    EXPECT_NE(ErrorOf(line).find("without blanks"), std::string::npos) << line;
  }
  EXPECT_EQ(ErrorOf("a: b/+=:~.c"), "");
}

TEST(ApiKeys, AreReadFromHashesWithLimits) {
  const absl::StatusOr<ApiKeys> keys = ApiKeys::Parse(
      "# of the operators\n---\nkeys:  # a list\n" +
      YamlKey("team-a", "sk-a",
              "  class: interactive\n  requests_per_minute: 600\n  tokens_per_minute: 200000\n"
              "  max_concurrent: 32\n  max_priority: -5\n  weight: 2.5\n") +
      YamlKey("team-b", "sk-b"));
  ASSERT_TRUE(keys.ok()) << keys.status();
  const absl::StatusOr<Tenant> a = keys->Authenticate("Bearer sk-a");
  ASSERT_TRUE(a.ok()) << a.status();
  EXPECT_EQ(a->name, "team-a");
  EXPECT_EQ(a->tenant_class, "interactive");
  EXPECT_EQ(a->requests_per_minute, 600u);
  EXPECT_EQ(a->tokens_per_minute, 200'000u);
  EXPECT_EQ(a->max_concurrent, 32u);
  EXPECT_EQ(a->max_priority, -5);
  EXPECT_EQ(a->weight, 2.5);
  const absl::StatusOr<Tenant> b = keys->Authenticate("Bearer sk-b");
  ASSERT_TRUE(b.ok()) << b.status();
  EXPECT_EQ(b->tenant_class, "default");
  EXPECT_EQ(b->requests_per_minute, 0u);
  EXPECT_FALSE(b->max_concurrent.has_value());
  EXPECT_EQ(b->weight, 1);
  const std::string hash = ToHex(Sha256("sk-a"));
  EXPECT_FALSE(keys->Authenticate("Bearer " + hash).ok()) << "the hash itself opens nothing";
}

TEST(ApiKeys, TwoKeysOfANameCountWhileOneIsReplaced) {
  std::string upper = ToHex(Sha256("new"));
  for (char& c : upper) c = static_cast<char>(c >= 'a' ? c - 32 : c);
  const absl::StatusOr<ApiKeys> keys = ApiKeys::Parse(
      Concat("keys:\n- name: a\n  sha256: [", ToHex(Sha256("old")), ", ", upper, "]\n"));
  ASSERT_TRUE(keys.ok()) << keys.status();
  EXPECT_EQ(NameOf(*keys, "old"), "a");
  EXPECT_EQ(NameOf(*keys, "new"), "a");
}

TEST(ApiKeys, BadYamlIsRefusedByLineAndName) {
  const std::string good = "keys:\n" + YamlKey("a", "k");
  ASSERT_TRUE(ApiKeys::Parse(good).ok());
  const std::pair<std::string, std::string> kCases[] = {
      {good + "  requests_per_minutes: 5\n",
       "line 4: unknown field 'requests_per_minutes'; did you mean 'requests_per_minute'?"},
      {good + "  requests_per_minute: many\n", "line 4: requests_per_minute is 'many', expected"},
      {good + "  tokens_per_minute: -1\n", "line 4: tokens_per_minute is '-1', expected"},
      {good + "  max_concurrent: [1]\n", "line 4: max_concurrent is 'a list or a mapping'"},
      {good + "  weight: 0\n", "line 4: weight is '0', expected a number from 0.01 to 100"},
      {good + "  weight: nan\n", "line 4: weight is 'nan'"},
      {good + "  class: \"a b\"\n", "line 4: class is 'a b', expected"},
      {good + "  name: b\n", "line 4: 'name' is given twice"},
      {good + YamlKey("a", "other"), "line 4: the name 'a' is given twice"},
      {good + YamlKey("b", "k"), "line 4: a key of 'b' stands there twice"},
      {good + "other: 1\n", "line 1: expected 'keys:' and nothing beside it"},
      {"keys:\n- name: a\n", "line 2: key 'a' has no 'sha256'"},
      {"keys:\n- {sha256: " + ToHex(Sha256("k")) + "}\n", "line 2: the key has no 'name'"},
      {"keys:\n- a\n", "line 2: expected the fields of a key"},
      {"keys:\n  a: b\n", "line 2: expected a list of keys"},
      {"keys:\n- {name: a\n", "line 3: "},
      {"keys: [a]\n", "line 1: expected the fields of a key"},
      {"{\"key\": []}\n", "line 1: expected 'keys:' and nothing beside it"},
  };
  for (const auto& [text, message] : kCases) {
    EXPECT_NE(ErrorOf(text).find(message), std::string::npos) << text << ErrorOf(text);
  }
  const std::string secret = ErrorOf("keys:\n- {name: a, sha256: sk-secret}\n");
  EXPECT_EQ(secret, "API keys, line 2: sha256: expected 64 hexadecimal digits");
}

TEST(ApiKeys, ClassesAreFew) {
  std::string text = "keys:\n";
  for (size_t i = 0; i < KeyTable::kMaxClasses; ++i) {
    text += YamlKey(Concat("n", i), Concat("k", i), Concat("  class: c", i, "\n"));
  }
  EXPECT_EQ(ErrorOf(text), "");
  text += YamlKey("last", "last", "  class: one-more\n");
  EXPECT_NE(ErrorOf(text).find("class 'one-more' is one too many"), std::string::npos);
}

class KeysFile : public ::testing::Test {
 protected:
  KeysFile() : path_(std::filesystem::temp_directory_path() / Concat("pingti-keys-", ::getpid())) {}
  ~KeysFile() override { std::filesystem::remove(path_); }
  void Write(const std::string& text) { std::ofstream(path_) << text; }

  const std::filesystem::path path_;
  testing::FakeClock clock_;
  AdmissionController admission_{{}, &clock_};
};

TEST_F(KeysFile, IsTakenUpWhenItChanges) {
  Write("keys:\n" + YamlKey("a", "ka"));
  absl::StatusOr<ApiKeysSource> source = ApiKeysSource::Open("in:line", path_);
  ASSERT_TRUE(source.ok()) << source.status();
  EXPECT_EQ(NameOf(source->keys(), "line"), "in");
  Write("keys:\n" + YamlKey("b", "kb", "  requests_per_minute: 3\n"));
  source->Reload(&admission_);
  EXPECT_EQ(NameOf(source->keys(), "kb"), "b");
  EXPECT_EQ(NameOf(source->keys(), "line"), "in");
  EXPECT_FALSE(source->keys().Authenticate("Bearer ka").ok());
  EXPECT_EQ(admission_.QuotaOf("b").requests->limit, 3u);
}

TEST_F(KeysFile, WithAnErrorChangesNothing) {
  Write("keys:\n" + YamlKey("a", "ka"));
  absl::StatusOr<ApiKeysSource> source = ApiKeysSource::Open("", path_);
  ASSERT_TRUE(source.ok()) << source.status();
  for (const char* bad : {"keys:\n- {nam: b}\n", "keys:\n", "", "keys: []\n", "keys: # none\n",
                          "keys: {}\n", "{\"keys\": []}\n", "{\n"}) {
    Write(bad);
    EXPECT_FALSE(source->Reload(&admission_).ok()) << bad;
    EXPECT_EQ(NameOf(source->keys(), "ka"), "a") << bad;
  }
  std::filesystem::remove(path_);
  EXPECT_FALSE(source->Reload(&admission_).ok());
  EXPECT_EQ(NameOf(source->keys(), "ka"), "a");
  std::filesystem::create_directory(path_);  // as a mount of what is not there makes it
  EXPECT_FALSE(source->Reload(&admission_).ok());
  EXPECT_EQ(NameOf(source->keys(), "ka"), "a");
}

TEST_F(KeysFile, MustBeThereAtTheStart) {
  EXPECT_TRUE(absl::IsNotFound(ApiKeysSource::Open("", path_).status()));
  Write("# nobody\n");
  EXPECT_TRUE(absl::IsInvalidArgument(ApiKeysSource::Open("", path_).status()));
}

}  // namespace
}  // namespace pingti::router
