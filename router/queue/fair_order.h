// Turns by tokens between API keys, or between clients where no keys are asked for: who asks for
// much waits behind its own, not before another's.
#pragma once

#include <cstddef>
#include <functional>
#include <map>
#include <string>

#include "router/queue/queue_order.h"

namespace pingti::router {

// Start-time fair queueing (Goyal, Vin and Cheng, "Start-time Fair Queueing", SIGCOMM 1996), a line
// per API key. The server's unit of work is a token, as in the virtual token counter of Sheng et
// al., "Fairness in Serving Large Language Models", OSDI 2024, which also counts an answer's tokens
// as they come:
//
//   start of a job  = max(virtual time when its line had nothing waiting, finish of the job before)
//   finish of a job = its start + its tokens / its line's weight
//   virtual time    = start of the job taken last
//
// While two keys both have sequences waiting, what they are given, by weight, differs by no more
// than the largest sequence of each. A key that was away gets no credit for it, and its first
// sequence goes before all that others have waiting. Without keys, a line is a
// client's network: those behind one proxy share one, which is first come, first served.
class FairOrder final : public QueueOrder {
 public:
  static constexpr std::string_view kName = "fair";

  std::string_view name() const override { return kName; }
  std::string_view Line(const SequenceJob& job) const override { return job.line; }
  double Rank(std::string_view line) const override;
  void OnAdded(const SequenceJob& job) override;
  void OnTaken(const SequenceJob& job) override;
  void OnAnswer(std::string_view line, double weight, double tokens) override;
  void OnRemoved(const SequenceJob& job) override;

 private:
  struct Account {
    double start = 0;    // of its next job
    size_t waiting = 0;  // jobs
  };

  // Forgets lines that stand where a new one would. There may be any number of networks.
  void Forget();

  // In tokens served since this router started, by weight.
  std::map<std::string, Account, std::less<>> lines_;
  size_t forget_at_ = 1024;  // lines
  double virtual_time_ = 0;
};

}  // namespace pingti::router
