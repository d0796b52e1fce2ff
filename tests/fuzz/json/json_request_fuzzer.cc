// Any body for each endpoint, through parsing, validation, template and tokenizer: no crash, no
// leak; a refusal is an OpenAI error body, and what is taken fits the model.
#include <boost/json.hpp>
#include <chrono>
#include <string>
#include <string_view>

#include "common/base/sha256.h"
#include "router/anthropic/parse.h"
#include "router/openai/parse.h"
#include "router/openai/write.h"
#include "router/pipeline/prompt.h"
#include "router/responses/parse.h"
#include "router/worker_link/model_store.h"
#include "tests/testing/fake_worker_service.h"

namespace pingti::router {
namespace {

void Require(bool condition) {
  if (!condition) __builtin_trap();
}

std::shared_ptr<const ServedModel> MakeModel() {
  const std::string asset =
      testing::FakeTokenizerAsset({"<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"});
  worker::v1::ModelCard card;
  card.set_model_id("m");
  card.set_fingerprint("f");
  card.set_max_context_tokens(2000);
  card.set_kv_block_tokens(16);
  card.set_vocab_size(262);
  card.set_chat_template(std::string(testing::kChatTemplate));
  card.mutable_tokenizer()->set_format(worker::v1::Asset::FORMAT_GGUF_TOKENIZER);
  card.mutable_tokenizer()->set_sha256(ToHex(Sha256(asset)));
  ModelStore store;
  return *store.GetOrBuild(card, [&](const worker::v1::Asset&) { return asset; });
}

void RequireErrorBody(const absl::Status& status) {
  const boost::json::value body = boost::json::parse(WriteError(status));
  Require(!body.at("error").at("message").as_string().empty());
}

void Prepare(const ServedModel& model, const GenerationRequest& request) {
  const absl::Status valid = ValidateRequest(model, request);
  if (!valid.ok()) return RequireErrorBody(valid);
  const auto prompts = PreparePrompts(model, request, std::chrono::system_clock::time_point());
  if (!prompts.ok()) return RequireErrorBody(prompts.status());
  for (const std::vector<uint32_t>& ids : prompts->token_ids) {
    Require(!ids.empty() && ids.size() <= model.max_context_tokens);
    for (const uint32_t id : ids) Require(id < model.vocab_size);
  }
  Require(prompts->block_hashes.size() == prompts->token_ids.size());
}

template <typename Parsed>
const GenerationRequest* RequestOf(const absl::StatusOr<Parsed>& parsed) {
  if (parsed.ok()) return &parsed->request;
  RequireErrorBody(parsed.status());
  return nullptr;
}

void Run(uint8_t endpoint, std::string_view body) {
  static const std::shared_ptr<const ServedModel> model = MakeModel();
  const GenerationRequest* request = nullptr;
  absl::StatusOr<ParsedRequest> generation;
  absl::StatusOr<ParsedTokenize> tokenize;
  absl::StatusOr<ParsedResponse> response;
  switch (endpoint % 6) {
    case 0:
      request = RequestOf(generation = ParseChatRequest(body));
      break;
    case 1:
      request = RequestOf(generation = ParseCompletionRequest(body));
      break;
    case 2:
      request = RequestOf(tokenize = ParseTokenizeRequest(body));
      break;
    case 3:
      response = ParseResponsesRequest(body);
      if (!response.ok()) return RequireErrorBody(response.status());
      boost::json::parse("{" + response->echo + "}");
      request = &response->chat.request;
      break;
    case 4:
      request = RequestOf(generation = ParseMessagesRequest(body, ""));
      break;
    default:
      const absl::StatusOr<ParsedDetokenize> parsed = ParseDetokenizeRequest(body);
      if (!parsed.ok()) return RequireErrorBody(parsed.status());
      const absl::StatusOr<std::string> text = DetokenizeIds(*model, parsed->tokens);
      if (text.ok()) boost::json::parse(WriteText(*text));
      return;
  }
  if (request != nullptr) Prepare(*model, *request);
}

}  // namespace
}  // namespace pingti::router

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  pingti::router::Run(data[0], {reinterpret_cast<const char*>(data) + 1, size - 1});
  return 0;
}
