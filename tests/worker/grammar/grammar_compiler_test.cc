// The compiler's thread, queue and cache.
#include "worker/grammar/grammar_compiler.h"

#include <gtest/gtest.h>

#include <future>
#include <string>

#include "tests/common/grammar/test_vocabulary.h"
#include "tests/testing/await.h"

namespace pingti::worker {
namespace {

using grammar::GrammarSource;
using testing::AwaitOrDie;
using Result = GrammarCompiler::Result;

GrammarSource Regex(std::string text) { return {GrammarSource::Kind::kRegex, std::move(text)}; }

Result CompileAndWait(GrammarCompiler* compiler, GrammarSource source) {
  auto promise = std::make_shared<std::promise<Result>>();
  std::future<Result> future = promise->get_future();
  compiler->Compile(std::move(source),
                    [promise](Result result) { promise->set_value(std::move(result)); });
  return AwaitOrDie(std::move(future), "a grammar to be compiled");
}

TEST(GrammarCompiler, GivesOneCompiledGrammarToEqualSources) {
  GrammarCompiler compiler(grammar::ByteVocabulary(), RealClock());
  const Result first = CompileAndWait(&compiler, Regex("[ab]+"));
  const Result again = CompileAndWait(&compiler, Regex("[ab]+"));
  const Result other = CompileAndWait(&compiler, {GrammarSource::Kind::kEbnf, "root ::= [ab]+"});
  ASSERT_TRUE(first.ok() && again.ok() && other.ok());
  EXPECT_EQ(*first, *again);
  EXPECT_NE(*first, *other);
  EXPECT_TRUE(grammar::Matches(*first, "abba"));
}

TEST(GrammarCompiler, SaysWhatIsWrongWithASource) {
  GrammarCompiler compiler(grammar::ByteVocabulary(), RealClock());
  const Result bad = CompileAndWait(
      &compiler, {GrammarSource::Kind::kJsonSchema, R"({"type":"object","not":{}})"});
  EXPECT_EQ(bad.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(bad.status().message().find("not"), std::string::npos);
  const Result large = CompileAndWait(&compiler, Regex(std::string(10 << 20, 'a')));
  EXPECT_EQ(large.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(CompileAndWait(&compiler, Regex("fine")).ok());
}

TEST(GrammarCompiler, ForgetsWhatWasUsedLongestAgo) {
  GrammarCompilerOptions options;
  options.max_cached = 2;
  GrammarCompiler compiler(grammar::ByteVocabulary(), RealClock(), options);
  const Result a = CompileAndWait(&compiler, Regex("a"));
  const Result b = CompileAndWait(&compiler, Regex("b"));
  EXPECT_EQ(*CompileAndWait(&compiler, Regex("a")), *a);
  ASSERT_TRUE(CompileAndWait(&compiler, Regex("c")).ok());
  EXPECT_EQ(*CompileAndWait(&compiler, Regex("a")), *a);
  EXPECT_NE(*CompileAndWait(&compiler, Regex("b")), *b);
}

TEST(GrammarCompiler, KeepsNothingBeyondItsBytes) {
  GrammarCompilerOptions options;
  options.max_cached_bytes = 1;
  GrammarCompiler compiler(grammar::ByteVocabulary(), RealClock(), options);
  const Result first = CompileAndWait(&compiler, Regex("a"));
  EXPECT_NE(*CompileAndWait(&compiler, Regex("a")), *first);
}

TEST(GrammarCompiler, RefusesWhatItsQueueCannotHold) {
  GrammarCompilerOptions options;
  options.max_queue = 1;
  GrammarCompiler compiler(grammar::ByteVocabulary(), RealClock(), options);
  // The thread is held in a callback, so what comes meanwhile must wait.
  std::promise<void> held;
  std::promise<void> release;
  compiler.Compile(Regex("x"), [&](Result) {
    held.set_value();
    AwaitOrDie(release.get_future(), "the test to let the compiler go on");
  });
  AwaitOrDie(held.get_future(), "the compiler to begin");
  std::promise<Result> second;
  compiler.Compile(Regex("y"), [&](Result result) { second.set_value(std::move(result)); });
  const Result third = CompileAndWait(&compiler, Regex("z"));
  EXPECT_EQ(third.status().code(), absl::StatusCode::kResourceExhausted);
  // What is in the cache needs no place in the queue.
  EXPECT_TRUE(CompileAndWait(&compiler, Regex("x")).ok());
  release.set_value();
  EXPECT_TRUE(AwaitOrDie(second.get_future(), "the queued grammar").ok());
}

}  // namespace
}  // namespace pingti::worker
