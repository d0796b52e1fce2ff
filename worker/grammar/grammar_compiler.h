// Compiles the grammars of requests on a thread of its own and keeps the compiled ones.
//
// Owns the thread, the queue before it and the cache behind it. A grammar that is in the cache is
// handed over at once. Read next: common/grammar/matcher.h, worker/engine/engine.h (who asks).
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <thread>

#include "absl/status/statusor.h"
#include "common/base/clock.h"
#include "common/base/mutex.h"
#include "common/grammar/grammar_source.h"
#include "common/grammar/matcher.h"

namespace pingti::worker {

struct GrammarCompilerOptions {
  size_t max_queue = 256;
  // A request that waited this long for its turn is refused.
  std::chrono::milliseconds queue_timeout{5'000};
  // What one grammar may take to compile.
  std::chrono::milliseconds compile_timeout{1'000};
  // Then this long masks are worked out ahead of their use.
  std::chrono::milliseconds warm_time{50};
  // Of the cache. A grammar counts with what it took when it was compiled and warmed, and may grow
  // while it is used (each by less than 100 MiB, see matcher.h).
  size_t max_cached = 64;
  size_t max_cached_bytes = size_t{256} << 20;
};

// Thread-safe.
class GrammarCompiler {
 public:
  using Result = absl::StatusOr<std::shared_ptr<grammar::CompiledGrammar>>;
  using Done = std::function<void(Result)>;

  GrammarCompiler(std::shared_ptr<const grammar::Vocabulary> vocabulary, const Clock* clock,
                  const GrammarCompilerOptions& options = {});
  // Ends after the grammar being compiled; those that wait are dropped without a word.
  ~GrammarCompiler();
  GrammarCompiler(const GrammarCompiler&) = delete;
  GrammarCompiler& operator=(const GrammarCompiler&) = delete;

  // Never blocks. `done` is called once, on the caller's thread when the answer is known at once,
  // else on the compiler's, with no lock held. What it is given is compiled for one thread: always
  // use the grammars of one compiler on the same one (see CompiledGrammar).
  // Errors: InvalidArgument with the compiler's words when the source does not compile within its
  // limits; ResourceExhausted when too many wait.
  void Compile(grammar::GrammarSource source, Done done);

 private:
  struct Job {
    grammar::GrammarSource source;
    Done done;
    std::chrono::steady_clock::time_point give_up_at;
  };
  struct Cached {
    std::shared_ptr<grammar::CompiledGrammar> grammar;  // shared with the sequences that use it
    size_t bytes;
    std::list<const grammar::GrammarSource*>::iterator use;
  };

  void Run();
  Result CompileNow(const grammar::GrammarSource& source) const;
  // Null: not there.
  std::shared_ptr<grammar::CompiledGrammar> Find(const grammar::GrammarSource& source)
      PINGTI_REQUIRES(mutex_);
  void Insert(const grammar::GrammarSource& source,
              const std::shared_ptr<grammar::CompiledGrammar>& compiled, size_t bytes)
      PINGTI_REQUIRES(mutex_);

  const std::shared_ptr<const grammar::Vocabulary> vocabulary_;
  const Clock* const clock_;
  const GrammarCompilerOptions options_;

  Mutex mutex_;
  CondVar posted_;
  std::deque<Job> queue_ PINGTI_GUARDED_BY(mutex_);
  bool stopping_ PINGTI_GUARDED_BY(mutex_) = false;
  std::map<grammar::GrammarSource, Cached> cache_ PINGTI_GUARDED_BY(mutex_);
  std::list<const grammar::GrammarSource*> uses_ PINGTI_GUARDED_BY(mutex_);  // latest first
  size_t cached_bytes_ PINGTI_GUARDED_BY(mutex_) = 0;
  std::thread thread_;
};

}  // namespace pingti::worker
