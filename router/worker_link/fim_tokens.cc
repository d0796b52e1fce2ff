// See fim_tokens.h.
#include "router/worker_link/fim_tokens.h"

#include <array>
#include <string_view>

namespace pingti::router {
namespace {

struct Names {
  std::string_view prefix;
  std::string_view suffix;
  std::string_view middle;
  std::array<std::string_view, 4> stops;  // those that the vocabulary has
};

// From the models' own cards and tokenizer files.
constexpr Names kFamilies[] = {
    {"<|fim_prefix|>",
     "<|fim_suffix|>",
     "<|fim_middle|>",
     {"<|endoftext|>", "<|fim_pad|>", "<|repo_name|>", "<|file_sep|>"}},
    {"<fim_prefix>",
     "<fim_suffix>",
     "<fim_middle>",
     {"<|endoftext|>", "<fim_pad>", "<file_sep>", "<repo_name>"}},
    {"<fim-prefix>", "<fim-suffix>", "<fim-middle>", {"<|endoftext|>", "<fim-pad>", "", ""}},
    {"<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>", {"<｜end▁of▁sentence｜>", "", "", ""}},
    {"▁<PRE>", "▁<SUF>", "▁<MID>", {"▁<EOT>", "", "", ""}},
};

}  // namespace

std::optional<FimTokens> FindFimTokens(const text::Tokenizer& tokenizer) {
  for (const Names& names : kFamilies) {
    const auto prefix = tokenizer.FindToken(names.prefix);
    const auto suffix = tokenizer.FindToken(names.suffix);
    const auto middle = tokenizer.FindToken(names.middle);
    if (!prefix || !suffix || !middle) continue;
    FimTokens tokens{*prefix, *suffix, *middle, {}};
    for (const std::string_view name : names.stops) {
      if (name.empty()) continue;
      if (const auto stop = tokenizer.FindToken(name)) tokens.stops.push_back(*stop);
    }
    return tokens;
  }
  return std::nullopt;
}

}  // namespace pingti::router
