// Drafts from a small model of the same vocabulary (Leviathan et al. 2023, "Fast Inference from
// Transformers via Speculative Decoding").
//
// It draws with the request's own parameters, seed and positions, so that where the two models'
// distributions agree, so do their draws, also at a temperature. It has a KV cache of its own,
// whose blocks go to the samples that were asked for last. A text that is new to it is read over
// several steps, at most max_batch_tokens in each, so that it holds no answer up for long.
#pragma once

#include <cstdint>
#include <list>
#include <span>
#include <vector>

#include "worker/cache/block_pool.h"
#include "worker/engine/draft_source.h"
#include "worker/model/model.h"

namespace pingti::worker {

class ModelDrafts : public DraftSource {
 public:
  struct Options {
    int32_t num_blocks = 0;
    int32_t block_tokens = 0;
    int32_t max_batch_tokens = 0;
    int32_t max_batch_size = 0;
  };

  // `model` is allocated with the same options and must outlive this object, which must outlive
  // the memories that it gives to samples. Drafts are below `vocab_size`, the served model's.
  ModelDrafts(Model* model, int32_t vocab_size, const Options& options);

  // Once the model has failed, nothing is proposed any more.
  void Propose(std::span<DraftAsk> asks) override;

 private:
  // What the model has read of one sample's text.
  struct Context;
  struct Turn {
    DraftAsk* ask;
    Context* context;
    int32_t most;  // drafts that it still wants in all
  };

  // Null: there is no room for it, or the model cannot read it.
  Context* Prepare(DraftAsk* ask);
  // Makes room for so many blocks of `context`, from those that were used longest ago.
  bool Reserve(Context* context, size_t num_blocks);
  // One forward pass over what the turns want; `left`: tokens of texts that may still be read.
  // False: there was nothing to do, or the model failed.
  bool Run(int32_t* left);
  void Add(const Turn& turn, int32_t num_tokens);
  void TakeDraws();

  Model* const model_;
  const int32_t vocab_size_;
  const Options options_;
  BlockPool pool_;
  std::list<Context*> by_use_;  // last used last
  uint64_t call_ = 0;
  bool failed_ = false;

  // The call in progress.
  std::vector<Turn> turns_;
  std::vector<const Turn*> in_batch_;
  std::vector<Turn*> drawing_;  // one for each row
  std::vector<int32_t> token_ids_;
  std::vector<int32_t> positions_;
  std::vector<int32_t> query_start_;
  std::vector<int32_t> context_len_;
  std::vector<int32_t> block_table_;
  std::vector<int32_t> logit_tokens_;
  std::vector<SamplingRow> rows_;
  std::vector<SampledToken> sampled_;
};

}  // namespace pingti::worker
