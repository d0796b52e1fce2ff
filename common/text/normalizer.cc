// See normalizer.h.
#include "common/text/normalizer.h"

#include <utf8proc.h>

#include <algorithm>
#include <memory>
#include <utility>

#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "common/text/regex.h"
#include "common/text/utf8.h"

namespace pingti::text {
namespace {

struct Mark {
  utf8proc_int32_t value;
  utf8proc_propval_t combining_class;
};

utf8proc_propval_t CombiningClass(utf8proc_int32_t value) {
  return utf8proc_get_property(value)->combining_class;
}

// Full decomposition of one character.
void Decompose(char32_t value, utf8proc_option_t options, std::vector<utf8proc_int32_t>* out) {
  utf8proc_int32_t buffer[32];  // the longest decomposition, U+FDFA, has 18
  int last_boundclass = 0;
  const utf8proc_ssize_t count = utf8proc_decompose_char(static_cast<utf8proc_int32_t>(value),
                                                         buffer, 32, options, &last_boundclass);
  PINGTI_CHECK(count >= 0 && count <= 32);
  out->insert(out->end(), buffer, buffer + count);
}

// Canonical Ordering Algorithm (Unicode 15.0, section 3.11), run by run.
void OrderMarks(std::vector<utf8proc_int32_t>* chars) {
  std::vector<Mark> run;
  for (size_t i = 0; i < chars->size(); ++i) {
    run.clear();
    size_t j = i;
    for (; j < chars->size(); ++j) {
      const utf8proc_propval_t combining_class = CombiningClass((*chars)[j]);
      if (combining_class == 0) break;
      run.push_back({(*chars)[j], combining_class});
    }
    if (run.size() > 1) {
      std::stable_sort(run.begin(), run.end(), [](const Mark& a, const Mark& b) {
        return a.combining_class < b.combining_class;
      });
      for (size_t k = 0; k < run.size(); ++k) (*chars)[i + k] = run[k].value;
    }
    i = j;  // chars[j] is a starter, or the end
  }
}

void NormalizeChunk(std::string_view chunk, UnicodeForm form, std::string* out) {
  const bool compatible = form == UnicodeForm::kNfkc || form == UnicodeForm::kNfkd;
  const auto options = static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_DECOMPOSE |
                                                      (compatible ? UTF8PROC_COMPAT : 0));
  std::vector<utf8proc_int32_t> chars;
  chars.reserve(chunk.size());
  while (!chunk.empty()) {
    const DecodedChar c = DecodeUtf8(chunk);
    Decompose(c.value, options, &chars);
    chunk.remove_prefix(c.length);
  }
  OrderMarks(&chars);
  auto count = static_cast<utf8proc_ssize_t>(chars.size());
  if (form == UnicodeForm::kNfc || form == UnicodeForm::kNfkc) {
    const auto compose = static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE);
    count = utf8proc_normalize_utf32(chars.data(), count, compose);
    PINGTI_CHECK(count >= 0);
  }
  for (utf8proc_ssize_t i = 0; i < count; ++i) {
    AppendUtf8(static_cast<char32_t>(chars[static_cast<size_t>(i)]), out);
  }
}

// Characters that no normal form changes and that never join what precedes them: below
// U+00A0 all of them; for the composed canonical form also Latin up to U+02FF, kana without voicing
// marks nearby, and CJK ideographs, so that ordinary text skips the tables.
bool IsInert(char32_t value, UnicodeForm form) {
  if (value < 0xA0) return true;
  if (form != UnicodeForm::kNfc) return false;
  return value < 0x300 || (value >= 0x3000 && value <= 0x3098) ||
         (value >= 0x309B && value <= 0x30FF) || (value >= 0x4E00 && value <= 0x9FFF) ||
         (value >= 0xAC00 && value <= 0xD7A3) || (value >= 0xFF00 && value <= 0xFFEF);
}

}  // namespace

std::string NormalizeUnicode(std::string_view text, UnicodeForm form) {
  std::string out;
  out.reserve(text.size());
  size_t copied = 0;      // everything before is in `out`
  size_t last_inert = 0;  // start of the last inert character: it may take marks that follow
  size_t pos = 0;
  while (pos < text.size()) {
    const DecodedChar c = DecodeUtf8(text.substr(pos));
    if (IsInert(c.value, form)) {
      last_inert = pos;
      pos += c.length;
      continue;
    }
    const size_t begin = std::max(copied, last_inert);
    size_t end = pos;
    while (end < text.size()) {
      const DecodedChar d = DecodeUtf8(text.substr(end));
      if (IsInert(d.value, form)) break;
      end += d.length;
    }
    out.append(text.substr(copied, begin - copied));
    NormalizeChunk(text.substr(begin, end - begin), form, &out);
    copied = pos = end;
  }
  out.append(text.substr(copied));
  return out;
}

absl::StatusOr<std::string> Normalizer::Apply(std::string_view text, bool starts_text) const {
  Input input{std::string(text), starts_text};
  for (const Step& step : steps_) PINGTI_RETURN_IF_ERROR(step(&input));
  return std::move(input.text);
}

Normalizer::Step UnicodeFormStep(UnicodeForm form) {
  return [form](Normalizer::Input* input) {
    input->text = NormalizeUnicode(input->text, form);
    return absl::OkStatus();
  };
}

Normalizer::Step LowercaseStep() {
  return [](Normalizer::Input* input) {
    std::string out;
    out.reserve(input->text.size());
    std::string_view rest = input->text;
    while (!rest.empty()) {
      const DecodedChar c = DecodeUtf8(rest);
      rest.remove_prefix(c.length);
      if (c.value == 0x130) {  // the one full mapping without conditions: i, combining dot above
        out += "i\xCC\x87";
      } else {
        AppendUtf8(static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c.value))),
                   &out);
      }
    }
    input->text = std::move(out);
    return absl::OkStatus();
  };
}

Normalizer::Step PrependStep(std::string prefix) {
  return [prefix = std::move(prefix)](Normalizer::Input* input) {
    if (input->starts_text && !input->text.empty()) input->text.insert(0, prefix);
    return absl::OkStatus();
  };
}

Normalizer::Step ReplaceStep(std::string from, std::string to) {
  return [from = std::move(from), to = std::move(to)](Normalizer::Input* input) {
    if (from.empty()) return absl::OkStatus();
    std::string out;
    size_t pos = 0;
    for (size_t hit; (hit = input->text.find(from, pos)) != std::string::npos;) {
      out.append(input->text, pos, hit - pos);
      out.append(to);
      pos = hit + from.size();
    }
    out.append(input->text, pos);
    input->text = std::move(out);
    return absl::OkStatus();
  };
}

absl::StatusOr<Normalizer::Step> RegexReplaceStep(std::string_view pattern, std::string to) {
  PINGTI_ASSIGN_OR_RETURN(Regex compiled, Regex::Compile(pattern));
  // Shared because std::function copies its target; nobody changes it.
  auto regex = std::make_shared<const Regex>(std::move(compiled));
  return Normalizer::Step([regex, to = std::move(to)](Normalizer::Input* input) {
    RegexScratch scratch;
    std::string out;
    size_t pos = 0;
    PINGTI_RETURN_IF_ERROR(regex->FindAll(input->text, &scratch, [&](Regex::Span match) {
      out.append(input->text, pos, match.begin - pos);
      out.append(to);
      pos = match.end;
      return absl::OkStatus();
    }));
    out.append(input->text, pos);
    input->text = std::move(out);
    return absl::OkStatus();
  });
}

Normalizer::Step StripStep(bool left, bool right) {
  return [left, right](Normalizer::Input* input) {
    std::string_view rest = input->text;
    size_t keep = 0;  // end of the last character that is no white space
    if (left) {
      while (!rest.empty()) {
        const DecodedChar c = DecodeUtf8(rest);
        if (!IsWhiteSpace(c.value)) break;
        rest.remove_prefix(c.length);
      }
    }
    if (right) {
      for (size_t pos = 0; pos < rest.size();) {
        const DecodedChar c = DecodeUtf8(rest.substr(pos));
        pos += c.length;
        if (!IsWhiteSpace(c.value)) keep = pos;
      }
      rest = rest.substr(0, keep);
    }
    input->text = std::string(rest);
    return absl::OkStatus();
  };
}

}  // namespace pingti::text
