// See pre_tokenizer.h.
#include "common/text/pre_tokenizer.h"

#include <algorithm>
#include <utility>

#include "common/base/status_macros.h"
#include "common/text/utf8.h"

namespace pingti::text {
namespace {

struct Part {
  size_t begin, end;
  bool is_match;
};

void MergeWithPrevious(const std::vector<Part>& parts, std::vector<Part>* out) {
  bool previous_match = false;
  for (const Part& part : parts) {
    if (part.is_match && !previous_match && !out->empty()) {
      out->back().end = part.end;
    } else {
      out->push_back(part);
    }
    previous_match = part.is_match;
  }
}

void MergeWithNext(const std::vector<Part>& parts, std::vector<Part>* out) {
  bool previous_match = false;
  for (auto part = parts.rbegin(); part != parts.rend(); ++part) {
    if (part->is_match && !previous_match && !out->empty()) {
      out->back().begin = part->begin;
    } else {
      out->push_back(*part);
    }
    previous_match = part->is_match;
  }
  std::reverse(out->begin(), out->end());
}

void MergeContiguous(const std::vector<Part>& parts, std::vector<Part>* out) {
  for (const Part& part : parts) {
    if (!out->empty() && out->back().is_match == part.is_match) {
      out->back().end = part.end;
    } else {
      out->push_back(part);
    }
  }
}

// Cuts `word` at `matches` (sorted, disjoint, not empty).
void Cut(std::string_view word, const std::vector<Regex::Span>& matches, SplitBehavior behavior,
         bool invert, std::vector<std::string_view>* out) {
  if (behavior == SplitBehavior::kIsolated) {
    size_t pos = 0;
    for (const Regex::Span& match : matches) {
      if (match.begin > pos) out->push_back(word.substr(pos, match.begin - pos));
      out->push_back(word.substr(match.begin, match.end - match.begin));
      pos = match.end;
    }
    if (pos < word.size()) out->push_back(word.substr(pos));
    return;
  }
  std::vector<Part> parts;
  size_t pos = 0;
  for (const Regex::Span& match : matches) {
    if (match.begin > pos) parts.push_back({pos, match.begin, invert});
    parts.push_back({match.begin, match.end, !invert});
    pos = match.end;
  }
  if (pos < word.size()) parts.push_back({pos, word.size(), invert});
  std::vector<Part> merged;
  switch (behavior) {
    case SplitBehavior::kMergedWithPrevious:
      MergeWithPrevious(parts, &merged);
      break;
    case SplitBehavior::kMergedWithNext:
      MergeWithNext(parts, &merged);
      break;
    case SplitBehavior::kContiguous:
      MergeContiguous(parts, &merged);
      break;
    case SplitBehavior::kRemoved:
      std::copy_if(parts.begin(), parts.end(), std::back_inserter(merged),
                   [](const Part& part) { return !part.is_match; });
      break;
    case SplitBehavior::kIsolated:
      break;
  }
  for (const Part& part : merged) out->push_back(word.substr(part.begin, part.end - part.begin));
}

class RegexStep : public PreTokenizerStep {
 public:
  RegexStep(Regex regex, SplitBehavior behavior, bool invert)
      : regex_(std::move(regex)), behavior_(behavior), invert_(invert) {}

  absl::Status Apply(WordList* list) const override {
    for (const std::string_view word : list->words) {
      list->matches.clear();
      PINGTI_RETURN_IF_ERROR(regex_.FindAll(word, &list->regex, &list->matches));
      Cut(word, list->matches, behavior_, invert_, &list->next);
    }
    return absl::OkStatus();
  }

 private:
  Regex regex_;
  SplitBehavior behavior_;
  bool invert_;
};

class CharStep : public PreTokenizerStep {
 public:
  CharStep(bool (*is_delimiter)(char32_t), SplitBehavior behavior)
      : is_delimiter_(is_delimiter), behavior_(behavior) {}

  absl::Status Apply(WordList* list) const override {
    for (const std::string_view word : list->words) {
      list->matches.clear();
      for (size_t pos = 0; pos < word.size();) {
        const DecodedChar c = DecodeUtf8(word.substr(pos));
        if (is_delimiter_(c.value)) list->matches.push_back({pos, pos + c.length});
        pos += c.length;
      }
      Cut(word, list->matches, behavior_, /*invert=*/false, &list->next);
    }
    return absl::OkStatus();
  }

 private:
  bool (*is_delimiter_)(char32_t);
  SplitBehavior behavior_;
};

class PrefixSpaceStep : public PreTokenizerStep {
 public:
  absl::Status Apply(WordList* list) const override {
    for (const std::string_view word : list->words) {
      if (word.empty() || word.front() == ' ') {
        list->next.push_back(word);
      } else {
        list->rewritten.emplace_back(1, ' ').append(word);
        list->next.push_back(list->rewritten.back());
      }
    }
    return absl::OkStatus();
  }
};

class MetaspaceStep : public PreTokenizerStep {
 public:
  MetaspaceStep(std::string mark, MetaspacePrepend prepend, bool split)
      : mark_(std::move(mark)), prepend_(prepend), split_(split) {}

  absl::Status Apply(WordList* list) const override {
    bool first = list->starts_text;
    for (const std::string_view word : list->words) {
      std::string marked;
      marked.reserve(word.size() * 2);
      const bool wanted =
          prepend_ == MetaspacePrepend::kAlways || (prepend_ == MetaspacePrepend::kFirst && first);
      first = false;
      const bool has_mark = !word.empty() && (word.front() == ' ' || word.starts_with(mark_));
      if (wanted && !has_mark) marked += mark_;
      for (const char c : word) {
        if (c == ' ') {
          marked += mark_;
        } else {
          marked += c;
        }
      }
      list->rewritten.push_back(std::move(marked));
      AppendWords(list->rewritten.back(), list);
    }
    return absl::OkStatus();
  }

 private:
  void AppendWords(std::string_view text, WordList* list) const {
    if (!split_) {
      list->next.push_back(text);
      return;
    }
    size_t begin = 0;
    while (begin < text.size()) {
      const size_t mark =
          text.find(mark_, begin == 0 && !text.starts_with(mark_) ? 0 : begin + mark_.size());
      const size_t end = std::min(mark, text.size());
      list->next.push_back(text.substr(begin, end - begin));
      begin = end;
    }
  }

  std::string mark_;
  MetaspacePrepend prepend_;
  bool split_;
};

}  // namespace

absl::Status PreTokenizer::Apply(WordList* list) const {
  for (const auto& step : steps_) {
    list->next.clear();
    PINGTI_RETURN_IF_ERROR(step->Apply(list));
    std::swap(list->words, list->next);
  }
  return absl::OkStatus();
}

std::unique_ptr<PreTokenizerStep> SplitByRegex(Regex regex, SplitBehavior behavior, bool invert) {
  return std::make_unique<RegexStep>(std::move(regex), behavior, invert);
}
std::unique_ptr<PreTokenizerStep> SplitByChar(bool (*is_delimiter)(char32_t),
                                              SplitBehavior behavior) {
  return std::make_unique<CharStep>(is_delimiter, behavior);
}
std::unique_ptr<PreTokenizerStep> PrefixSpace() { return std::make_unique<PrefixSpaceStep>(); }
std::unique_ptr<PreTokenizerStep> Metaspace(std::string mark, MetaspacePrepend prepend,
                                            bool split) {
  return std::make_unique<MetaspaceStep>(std::move(mark), prepend, split);
}

}  // namespace pingti::text
