// A checkpoint in memory with random f32 weights, made from a Hugging Face configuration: for sizes
// that no fixture has.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "worker/weights/checkpoint.h"

namespace pingti::worker::testing {

class RandomCheckpoint {
 public:
  // `config`: config.json of a family that is served.
  RandomCheckpoint(const std::string& config, uint32_t seed);
  RandomCheckpoint(const RandomCheckpoint&) = delete;
  RandomCheckpoint& operator=(const RandomCheckpoint&) = delete;

  const Checkpoint& get() const { return *checkpoint_; }

 private:
  std::deque<std::vector<float>> values_;
  std::unique_ptr<Checkpoint> checkpoint_;
};

}  // namespace pingti::worker::testing
