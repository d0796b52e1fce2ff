// See regex.h.
#define PCRE2_CODE_UNIT_WIDTH 8
#include "common/text/regex.h"

#include <pcre2.h>

#include <new>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/text/utf8.h"

namespace pingti::text {
namespace {

// Steps of the matcher for one match: pre-tokenizer patterns need a few per character.
constexpr uint32_t kMatchLimit = 50'000'000;
constexpr uint32_t kHeapLimitKib = 256 * 1024;

std::string Translate(std::string_view pattern) {
  // DeepSeek LLM cuts white space off the ends of lines with this. Tried at every space of a long
  // run it takes quadratic time where PCRE2 interprets; a run has at most one match, which begins
  // where the run does.
  if (pattern == "\\s+$") return "(?<!\\p{White_Space})\\p{White_Space}+$";
  std::string out;
  bool in_class = false;
  for (size_t i = 0; i < pattern.size(); ++i) {
    const char c = pattern[i];
    if (c == '\\' && i + 1 < pattern.size()) {
      const char next = pattern[++i];
      switch (next) {
        case 's':
          out += "\\p{White_Space}";
          break;
        case 'S':
          out += "\\P{White_Space}";
          break;
        case 'd':
          out += "\\p{Nd}";
          break;
        case 'D':
          out += "\\P{Nd}";
          break;
        case 'w': {
          const char* set = "\\p{Alphabetic}\\p{M}\\p{N}\\p{Pc}";
          out += in_class ? std::string(set) : absl::StrCat("[", set, "]");
          break;
        }
        default:
          out += c;
          out += next;
      }
      continue;
    }
    if (!in_class && c == '[') {
      in_class = true;
      out += c;
      if (i + 1 < pattern.size() && pattern[i + 1] == '^') out += pattern[++i];
      // A bracket right after the opening one is a member of the class.
      if (i + 1 < pattern.size() && pattern[i + 1] == ']') {
        out += "\\]";
        ++i;
      }
      continue;
    }
    if (in_class && c == ']') in_class = false;
    out += c;
  }
  return out;
}

std::string ErrorText(int code) {
  PCRE2_UCHAR buffer[256];
  pcre2_get_error_message(code, buffer, sizeof(buffer));
  return reinterpret_cast<const char*>(buffer);
}

}  // namespace

void RegexDeleter::operator()(pcre2_real_code_8* code) const { pcre2_code_free(code); }
void RegexDeleter::operator()(pcre2_real_match_data_8* data) const { pcre2_match_data_free(data); }
void RegexDeleter::operator()(pcre2_real_match_context_8* context) const {
  pcre2_match_context_free(context);
}

RegexScratch::RegexScratch()
    : data_(pcre2_match_data_create(1, nullptr)), context_(pcre2_match_context_create(nullptr)) {
  if (data_ == nullptr || context_ == nullptr) throw std::bad_alloc();
  pcre2_set_match_limit(context_.get(), kMatchLimit);
  pcre2_set_heap_limit(context_.get(), kHeapLimitKib);
}

absl::StatusOr<Regex> Regex::Compile(std::string_view pattern, Engine engine) {
  const std::string translated = Translate(pattern);
  int error = 0;
  PCRE2_SIZE offset = 0;
  Regex regex;
  regex.pattern_ = std::string(pattern);
  regex.code_.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(translated.data()),
                                  translated.size(), PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE,
                                  &error, &offset, nullptr));
  if (regex.code_ == nullptr) {
    return absl::InvalidArgumentError(absl::StrCat("pattern '", regex.pattern_, "' (as '",
                                                   translated, "'), offset ", offset, ": ",
                                                   ErrorText(error)));
  }
  regex.jit_ =
      engine == Engine::kCompiled && pcre2_jit_compile(regex.code_.get(), PCRE2_JIT_COMPLETE) == 0;
  return regex;
}

absl::Status Regex::FindAll(std::string_view text, RegexScratch* scratch, VisitMatch visit) const {
  const auto* subject = reinterpret_cast<PCRE2_SPTR>(text.data());
  const PCRE2_SIZE* ovector = pcre2_get_ovector_pointer(scratch->data_.get());
  size_t pos = 0;
  while (pos < text.size()) {
    int rc = PCRE2_ERROR_JIT_STACKLIMIT;
    if (jit_) {
      rc = pcre2_jit_match(code_.get(), subject, text.size(), pos, PCRE2_NO_UTF_CHECK,
                           scratch->data_.get(), scratch->context_.get());
    }
    if (rc == PCRE2_ERROR_JIT_STACKLIMIT) {
      rc = pcre2_match(code_.get(), subject, text.size(), pos, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT,
                       scratch->data_.get(), scratch->context_.get());
    }
    if (rc == PCRE2_ERROR_NOMATCH) return absl::OkStatus();
    if (rc < 0) {
      return absl::ResourceExhaustedError(
          absl::StrCat("pattern '", pattern_, "' at byte ", pos, ": ", ErrorText(rc)));
    }
    const Span match{ovector[0], ovector[1]};
    pos = match.end;
    if (match.end > match.begin) {
      PINGTI_RETURN_IF_ERROR(visit(match));
    } else if (pos < text.size()) {
      pos += DecodeUtf8(text.substr(pos)).length;
    }
  }
  return absl::OkStatus();
}

std::string EscapeForRegex(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (std::string_view("\\^$.|?*+()[]{}-#&~").find(c) != std::string_view::npos) out += '\\';
    out += c;
  }
  return out;
}

}  // namespace pingti::text
