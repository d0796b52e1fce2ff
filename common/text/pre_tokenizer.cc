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

std::vector<Part> Merge(const std::vector<Part>& parts, SplitBehavior behavior) {
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
  return merged;
}

// What steps that cut have in common.
class SplitStep : public PreTokenizerStep {
 public:
  absl::Status Apply(Word word, const WordPipe& out) const override {
    const auto send = [&](size_t begin, size_t end) {
      return out.Send({word.text.substr(begin, end - begin), word.starts_text && begin == 0});
    };
    std::vector<Part> parts;  // stays empty where parts need not wait for others
    const auto take = [&](size_t begin, size_t end, bool is_match) {
      if (begin == end) return absl::OkStatus();
      if (behavior_ == SplitBehavior::kIsolated) return send(begin, end);
      parts.push_back({begin, end, is_match});
      return absl::OkStatus();
    };
    size_t pos = 0;
    const auto cut = [&](Regex::Span match) {
      PINGTI_RETURN_IF_ERROR(take(pos, match.begin, invert_));
      pos = match.end;
      return take(match.begin, match.end, !invert_);
    };
    PINGTI_RETURN_IF_ERROR(Find(word.text, out.regex(), cut));
    PINGTI_RETURN_IF_ERROR(take(pos, word.text.size(), invert_));
    if (parts.empty()) return absl::OkStatus();
    for (const Part& part : Merge(parts, behavior_)) {
      PINGTI_RETURN_IF_ERROR(send(part.begin, part.end));
    }
    return absl::OkStatus();
  }

 protected:
  SplitStep(SplitBehavior behavior, bool invert) : behavior_(behavior), invert_(invert) {}
  // Matches are sorted, disjoint and not empty.
  virtual absl::Status Find(std::string_view word, RegexScratch* regex,
                            Regex::VisitMatch visit) const = 0;

 private:
  SplitBehavior behavior_;
  bool invert_;
};

class RegexStep : public SplitStep {
 public:
  RegexStep(Regex regex, SplitBehavior behavior, bool invert)
      : SplitStep(behavior, invert), regex_(std::move(regex)) {}

 protected:
  absl::Status Find(std::string_view word, RegexScratch* regex,
                    Regex::VisitMatch visit) const override {
    return regex_.FindAll(word, regex, visit);
  }

 private:
  Regex regex_;
};

class CharStep : public SplitStep {
 public:
  CharStep(bool (*is_delimiter)(char32_t), SplitBehavior behavior)
      : SplitStep(behavior, /*invert=*/false), is_delimiter_(is_delimiter) {}

 protected:
  absl::Status Find(std::string_view word, RegexScratch*, Regex::VisitMatch visit) const override {
    for (size_t pos = 0; pos < word.size();) {
      const DecodedChar c = DecodeUtf8(word.substr(pos));
      if (is_delimiter_(c.value)) PINGTI_RETURN_IF_ERROR(visit({pos, pos + c.length}));
      pos += c.length;
    }
    return absl::OkStatus();
  }

 private:
  bool (*is_delimiter_)(char32_t);
};

class ByteStep : public SplitStep {
 public:
  ByteStep(bool (*is_delimiter)(unsigned char), size_t run, SplitBehavior behavior)
      : SplitStep(behavior, /*invert=*/false), is_delimiter_(is_delimiter), run_(run) {}

 protected:
  absl::Status Find(std::string_view word, RegexScratch*, Regex::VisitMatch visit) const override {
    size_t count = 0;  // delimiter bytes up to here
    for (size_t pos = 0; pos < word.size(); ++pos) {
      count = is_delimiter_(static_cast<unsigned char>(word[pos])) ? count + 1 : 0;
      if (count < run_) continue;
      PINGTI_RETURN_IF_ERROR(visit({pos + 1 - run_, pos + 1}));
      count = 0;
    }
    return absl::OkStatus();
  }

 private:
  bool (*is_delimiter_)(unsigned char);
  size_t run_;
};

class PrefixSpaceStep : public PreTokenizerStep {
 public:
  absl::Status Apply(Word word, const WordPipe& out) const override {
    if (word.text.front() == ' ') return out.Send(word);
    std::string prefixed(1, ' ');
    prefixed += word.text;
    return out.Send({prefixed, word.starts_text});
  }
};

class MetaspaceStep : public PreTokenizerStep {
 public:
  MetaspaceStep(std::string mark, MetaspacePrepend prepend, bool split)
      : mark_(std::move(mark)), prepend_(prepend), split_(split) {}

  absl::Status Apply(Word word, const WordPipe& out) const override {
    std::string marked;
    marked.reserve(word.text.size() * 2);
    const bool wanted = prepend_ == MetaspacePrepend::kAlways ||
                        (prepend_ == MetaspacePrepend::kFirst && word.starts_text);
    const bool has_mark = word.text.front() == ' ' || word.text.starts_with(mark_);
    if (wanted && !has_mark) marked += mark_;
    for (const char c : word.text) {
      if (c == ' ') {
        marked += mark_;
      } else {
        marked += c;
      }
    }
    if (!split_) return out.Send({marked, word.starts_text});
    return SendWords(marked, word.starts_text, out);
  }

 private:
  absl::Status SendWords(std::string_view text, bool starts_text, const WordPipe& out) const {
    for (size_t begin = 0; begin < text.size();) {
      const bool at_mark = text.substr(begin).starts_with(mark_);
      const size_t mark = text.find(mark_, begin + (at_mark ? mark_.size() : 0));
      const size_t end = std::min(mark, text.size());
      PINGTI_RETURN_IF_ERROR(
          out.Send({text.substr(begin, end - begin), starts_text && begin == 0}));
      begin = end;
    }
    return absl::OkStatus();
  }

  std::string mark_;
  MetaspacePrepend prepend_;
  bool split_;
};

}  // namespace

absl::Status WordPipe::Send(Word word) const {
  if (step_ < steps_->size()) {
    return (*steps_)[step_]->Apply(word, WordPipe(steps_, step_ + 1, regex_, sink_));
  }
  (*sink_)(word.text);
  return absl::OkStatus();
}

absl::Status PreTokenizer::Apply(Word text, RegexScratch* regex, WordSink sink) const {
  if (text.text.empty()) return absl::OkStatus();
  return WordPipe(&steps_, 0, regex, &sink).Send(text);
}

std::unique_ptr<PreTokenizerStep> SplitByRegex(Regex regex, SplitBehavior behavior, bool invert) {
  return std::make_unique<RegexStep>(std::move(regex), behavior, invert);
}
std::unique_ptr<PreTokenizerStep> SplitByChar(bool (*is_delimiter)(char32_t),
                                              SplitBehavior behavior) {
  return std::make_unique<CharStep>(is_delimiter, behavior);
}
std::unique_ptr<PreTokenizerStep> SplitByBytes(bool (*is_delimiter)(unsigned char), size_t run,
                                               SplitBehavior behavior) {
  return std::make_unique<ByteStep>(is_delimiter, run, behavior);
}

bool IsNumericByte(unsigned char byte) {
  return IsAsciiDigit(byte) || byte == 0xB2 || byte == 0xB3 || byte == 0xB9 ||
         (byte >= 0xBC && byte <= 0xBE);
}

bool IsAsciiDigit(unsigned char byte) { return byte >= '0' && byte <= '9'; }

std::unique_ptr<PreTokenizerStep> PrefixSpace() { return std::make_unique<PrefixSpaceStep>(); }
std::unique_ptr<PreTokenizerStep> Metaspace(std::string mark, MetaspacePrepend prepend,
                                            bool split) {
  return std::make_unique<MetaspaceStep>(std::move(mark), prepend, split);
}

}  // namespace pingti::text
