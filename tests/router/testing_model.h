// A served model with the byte tokenizer of tests/testing/fake_worker.h.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "common/base/sha256.h"
#include "proto/pingti/worker/v1/worker.pb.h"
#include "router/worker_link/model_store.h"
#include "tests/testing/fake_worker_service.h"

namespace pingti::router {

struct TestModelOptions {
  std::string chat_template{};
  std::string tokenizer_config{};             // contents of the file; empty: there is none
  std::vector<std::string> control_tokens{};  // beside <|im_start|>, the beginning, and <|im_end|>
  bool add_bos_token = false;
  std::vector<std::string> features{};
};

inline std::shared_ptr<const ServedModel> MakeTestModel(const TestModelOptions& options) {
  const std::string tokenizer = testing::FakeTokenizerAsset(options.control_tokens);
  worker::v1::ModelCard card;
  card.set_model_id("m");
  card.set_fingerprint("f");
  card.set_max_context_tokens(2000);
  card.set_kv_block_tokens(16);
  card.set_vocab_size(static_cast<uint32_t>(259 + options.control_tokens.size()));
  card.set_chat_template(options.chat_template);
  card.set_add_bos_token(options.add_bos_token);
  for (const std::string& feature : options.features) card.add_features(feature);
  card.mutable_tokenizer()->set_format(worker::v1::Asset::FORMAT_GGUF_TOKENIZER);
  card.mutable_tokenizer()->set_sha256(ToHex(Sha256(tokenizer)));
  if (!options.tokenizer_config.empty()) {
    card.mutable_tokenizer_config()->set_format(worker::v1::Asset::FORMAT_TOKENIZER_CONFIG);
    card.mutable_tokenizer_config()->set_sha256(ToHex(Sha256(options.tokenizer_config)));
  }
  ModelStore store;
  return *store.GetOrBuild(card, [&](const worker::v1::Asset& asset) {
    return asset.format() == worker::v1::Asset::FORMAT_TOKENIZER_CONFIG ? options.tokenizer_config
                                                                        : tokenizer;
  });
}

}  // namespace pingti::router
