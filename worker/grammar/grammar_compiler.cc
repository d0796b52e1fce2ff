// See grammar_compiler.h.
#include "worker/grammar/grammar_compiler.h"

#include <string>
#include <utility>
#include <vector>

#include "common/base/strings.h"

namespace pingti::worker {

GrammarCompiler::GrammarCompiler(std::shared_ptr<const grammar::Vocabulary> vocabulary,
                                 const Clock* clock, const GrammarCompilerOptions& options)
    : vocabulary_(std::move(vocabulary)), clock_(clock), options_(options) {
  thread_ = std::thread([this] { Run(); });
}

GrammarCompiler::~GrammarCompiler() {
  {
    MutexLock lock(&mutex_);
    stopping_ = true;
    posted_.NotifyAll();
  }
  thread_.join();
}

void GrammarCompiler::Compile(grammar::GrammarSource source, Done done) {
  std::shared_ptr<grammar::CompiledGrammar> known;
  {
    MutexLock lock(&mutex_);
    known = Find(source);
    if (known == nullptr && queue_.size() < options_.max_queue) {
      queue_.push_back(
          {std::move(source), std::move(done), clock_->Now() + options_.queue_timeout});
      posted_.NotifyOne();
      return;
    }
  }
  if (known != nullptr) return done(std::move(known));
  done(absl::ResourceExhaustedError(
      Concat("grammar: ", options_.max_queue, " grammars wait to be compiled at this worker")));
}

void GrammarCompiler::Run() {
  while (true) {
    Job job;
    std::shared_ptr<grammar::CompiledGrammar> known;
    {
      MutexLock lock(&mutex_);
      while (queue_.empty() && !stopping_) posted_.Wait(&mutex_);
      if (stopping_) return;
      job = std::move(queue_.front());
      queue_.pop_front();
      known = Find(job.source);  // of an equal one that came before it
    }
    if (known != nullptr) {
      job.done(std::move(known));
      continue;
    }
    if (clock_->Now() >= job.give_up_at) {
      job.done(absl::ResourceExhaustedError(
          Concat("grammar: not compiled within ", options_.queue_timeout.count(), " ms")));
      continue;
    }
    Result result = CompileNow(job.source);
    if (result.ok()) {
      // Before it is handed over: afterwards it belongs to the engine's thread.
      const size_t bytes = (*result)->memory_bytes() + job.source.text.size();
      MutexLock lock(&mutex_);
      Insert(job.source, *result, bytes);
    }
    job.done(std::move(result));
  }
}

GrammarCompiler::Result GrammarCompiler::CompileNow(const grammar::GrammarSource& source) const {
  grammar::GrammarLimits limits;
  limits.clock = clock_;
  limits.deadline = clock_->Now() + options_.compile_timeout;
  absl::StatusOr<grammar::Automaton> automaton = grammar::CompileGrammar(source, limits);
  if (!automaton.ok()) {
    return absl::InvalidArgumentError(
        Concat("grammar: ", std::string(automaton.status().message())));
  }
  auto compiled = std::make_shared<grammar::CompiledGrammar>(*std::move(automaton), vocabulary_);
  compiled->Warm(*clock_, clock_->Now() + options_.warm_time);
  return compiled;
}

std::shared_ptr<grammar::CompiledGrammar> GrammarCompiler::Find(
    const grammar::GrammarSource& source) {
  const auto it = cache_.find(source);
  if (it == cache_.end()) return nullptr;
  uses_.splice(uses_.begin(), uses_, it->second.use);
  return it->second.grammar;
}

void GrammarCompiler::Insert(const grammar::GrammarSource& source,
                             const std::shared_ptr<grammar::CompiledGrammar>& compiled,
                             size_t bytes) {
  if (bytes > options_.max_cached_bytes || options_.max_cached == 0) return;
  while (cache_.size() >= options_.max_cached ||
         cached_bytes_ + bytes > options_.max_cached_bytes) {
    const auto oldest = cache_.find(*uses_.back());
    cached_bytes_ -= oldest->second.bytes;
    uses_.pop_back();
    cache_.erase(oldest);
  }
  const auto it = cache_.emplace(source, Cached{compiled, bytes, {}}).first;
  uses_.push_front(&it->first);
  it->second.use = uses_.begin();
  cached_bytes_ += bytes;
}

}  // namespace pingti::worker
