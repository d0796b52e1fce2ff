// How requests are run, as the router's settings have it: router_config.h fills this.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>

namespace pingti::router {

struct GenerationOptions {
  std::chrono::milliseconds request_timeout{600'000};
  std::chrono::milliseconds queue_timeout{300'000};
  std::chrono::milliseconds keep_alive{10'000};
  // Time between two deltas of a streamed choice: what comes in between goes with the next. A
  // worker that can holds it back; of others' sequences this router does.
  std::chrono::milliseconds stream_interval{0};
  // How often one choice may fail at a worker without a token in between.
  int max_attempts = 4;
  // Requests larger than this are parsed and prepared on the task pool.
  size_t inline_bytes = 16u << 10;
  // And those larger than this do not share a queue with the others there.
  size_t long_bytes = 256u << 10;
  // How long a request for a configured model waits for a worker that is ready.
  std::chrono::milliseconds model_wait{0};
  // Clients may load and unload adapters.
  bool adapter_changes = false;
  // Of one search; 1: no beam search.
  uint32_t max_beams = 16;
};

}  // namespace pingti::router
