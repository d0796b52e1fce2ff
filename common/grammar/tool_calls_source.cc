// See tool_calls_source.h.
#include "common/grammar/tool_calls_source.h"

#include <algorithm>
#include <boost/json.hpp>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "common/grammar/code_points.h"
#include "common/grammar/control_token.h"
#include "common/grammar/ebnf_source.h"
#include "common/grammar/field_arguments.h"
#include "common/grammar/json_view.h"
#include "common/grammar/regex_source.h"
#include "common/grammar/schema_compiler.h"
#include "common/grammar/text_without.h"

namespace pingti::grammar {
namespace {

namespace json = boost::json;

absl::Status Malformed(std::string_view field, std::string_view expected) {
  return absl::InvalidArgumentError(Concat("tool calls: '", field, "': expected ", expected));
}

// Confined to one call of ParseToolCalls.
class ToolCallsReader {
 public:
  ToolCallsReader(const json::object& source, Grammar* grammar)
      : source_(source), grammar_(grammar) {}

  absl::Status Run() {
    PINGTI_RETURN_IF_ERROR(ReadSpecial());
    PINGTI_ASSIGN_OR_RETURN(ExprId answer, ReadAllFrames());
    if (source_.contains("free")) {
      PINGTI_ASSIGN_OR_RETURN(const std::string_view mark, Text(source_, "free"));
      PINGTI_ASSIGN_OR_RETURN(const ExprId words, TextWithout(mark, grammar_));
      answer = grammar_->Sequence({words, grammar_->Optional(answer)});
    }
    if (source_.contains("unless")) {
      PINGTI_ASSIGN_OR_RETURN(answer, CallsUnlessWords(answer));
    }
    if (const json::value* messages = source_.if_contains("messages")) {
      PINGTI_ASSIGN_OR_RETURN(answer, CallsBehindMessages(*messages, answer));
    }
    if (const json::value* thought = source_.if_contains("thought")) {
      PINGTI_ASSIGN_OR_RETURN(const ExprId before, ReadThought(*thought));
      answer = grammar_->Sequence({before, answer});
    }
    const RuleId root = grammar_->AddRule("tool calls");
    grammar_->SetBody(root, answer);
    grammar_->SetRoot(root);
    return grammar_->status();
  }

 private:
  static absl::StatusOr<std::string_view> Text(const json::object& from, std::string_view field) {
    const json::value* value = from.if_contains(json::string_view(field.data(), field.size()));
    if (value == nullptr || !value->is_string()) return Malformed(field, "a string");
    return View(value->get_string());
  }

  static absl::StatusOr<bool> Flag(const json::object& from, std::string_view field) {
    const json::value* value = from.if_contains(json::string_view(field.data(), field.size()));
    if (value == nullptr || !value->is_bool()) return Malformed(field, "a boolean");
    return value->get_bool();
  }

  absl::Status ReadSpecial() {
    const json::value* special = source_.if_contains("special");
    if (special == nullptr) return absl::OkStatus();
    if (!special->is_array()) return Malformed("special", "an array");
    for (const json::value& text : special->get_array()) {
      if (!text.is_string() || text.get_string().empty()) {
        return Malformed("special", "texts that are not empty");
      }
      special_.push_back(View(text.get_string()));
    }
    return absl::OkStatus();
  }

  // The control token at the front of `text`; empty: there is none.
  std::string_view SpecialAt(std::string_view text) const {
    const auto here = std::find_if(special_.begin(), special_.end(),
                                   [&](std::string_view one) { return text.starts_with(one); });
    return here == special_.end() ? std::string_view() : *here;
  }

  // A text in which control tokens stand as what they are.
  ExprId Fixed(std::string_view text) const {
    std::string bytes;
    while (!text.empty()) {
      const std::string_view special = SpecialAt(text);
      bytes += special.empty() ? std::string(text.substr(0, 1)) : ControlToken(special);
      text.remove_prefix(std::max<size_t>(special.size(), 1));
    }
    return grammar_->Literal(bytes);
  }

  absl::StatusOr<ExprId> FixedText(const json::object& from, std::string_view field) const {
    PINGTI_ASSIGN_OR_RETURN(const std::string_view text, Text(from, field));
    return Fixed(text);
  }

  // One of the texts that stand in a member.
  absl::StatusOr<ExprId> OneOfTexts(const json::object& from, std::string_view field) {
    const json::value* texts = from.if_contains(json::string_view(field.data(), field.size()));
    if (texts == nullptr || !texts->is_array() || texts->get_array().empty()) {
      return Malformed(field, "an array of at least one text");
    }
    std::vector<ExprId> alternatives;
    for (const json::value& text : texts->get_array()) {
      if (!text.is_string()) return Malformed(field, "texts");
      alternatives.push_back(Fixed(View(text.get_string())));
    }
    const RuleId rule = grammar_->AddRule(std::string(field));
    grammar_->SetBody(rule, grammar_->Choice(std::move(alternatives)));
    return grammar_->Call(rule);
  }

  absl::StatusOr<ExprId> ReadAllFrames() {
    std::vector<ExprId> frames;
    PINGTI_ASSIGN_OR_RETURN(frames.emplace_back(), OneFrame(source_));
    if (const json::value* others = source_.if_contains("others")) {
      if (!others->is_array()) return Malformed("others", "an array");
      for (const json::value& other : others->get_array()) {
        if (!other.is_object()) return Malformed("others", "objects");
        PINGTI_ASSIGN_OR_RETURN(frames.emplace_back(), OneFrame(other.get_object()));
      }
    }
    return grammar_->Choice(std::move(frames));
  }

  absl::StatusOr<ExprId> OneFrame(const json::object& source) {
    const json::value* calls = source.if_contains("calls");
    if (calls == nullptr || !calls->is_array() || calls->get_array().empty()) {
      return Malformed("calls", "an array of at least one call");
    }
    PINGTI_ASSIGN_OR_RETURN(const bool many, Flag(source, "many"));
    PINGTI_ASSIGN_OR_RETURN(const ExprId begin, FixedText(source, "begin"));
    PINGTI_ASSIGN_OR_RETURN(const ExprId separator, FixedText(source, "separator"));
    PINGTI_ASSIGN_OR_RETURN(const ExprId end, FixedText(source, "end"));
    ExprId behind = grammar_->Literal("");
    if (source.contains("behind")) {
      PINGTI_ASSIGN_OR_RETURN(behind, OneOfTexts(source, "behind"));
    }
    std::vector<ExprId> alternatives;
    for (size_t i = 0; i < calls->get_array().size(); ++i) {
      PINGTI_ASSIGN_OR_RETURN(alternatives.emplace_back(),
                              ReadCall(calls->get_array()[i], i, behind));
    }
    const RuleId one = grammar_->AddRule("tool call");
    grammar_->SetBody(one, grammar_->Choice(std::move(alternatives)));
    std::vector<ExprId> parts{begin, grammar_->Call(one)};
    if (many) {
      parts.push_back(
          grammar_->Repeat(grammar_->Sequence({separator, grammar_->Call(one)}), 0, kUnbounded));
    }
    parts.push_back(end);
    return grammar_->Sequence(std::move(parts));
  }

  absl::StatusOr<ExprId> ReadCall(const json::value& value, size_t index, ExprId behind) {
    const std::string name = Concat("calls[", index, "]");
    if (!value.is_object()) return Malformed(name, "an object");
    const json::object& call = value.get_object();
    PINGTI_ASSIGN_OR_RETURN(const ExprId front, FixedText(call, "begin"));
    const ExprId begin = grammar_->Sequence({front, behind});
    PINGTI_ASSIGN_OR_RETURN(const ExprId end, FixedText(call, "end"));
    const absl::StatusOr<ExprId> content = ReadContent(call);
    if (!content.ok()) {
      return absl::Status(content.status().code(),
                          Concat(name, ": ", std::string(content.status().message())));
    }
    if (!call.contains("number")) return grammar_->Sequence({begin, *content, end});
    constexpr int32_t kMostDigits = 4;
    PINGTI_ASSIGN_OR_RETURN(const ExprId mark, FixedText(call, "number"));
    const ExprId number = grammar_->Repeat(grammar_->Class({{'0', '9'}}), 1, kMostDigits);
    return grammar_->Sequence({begin, number, mark, *content, end});
  }

  absl::StatusOr<ExprId> ReadContent(const json::object& call) {
    if (call.contains("regex")) {
      PINGTI_ASSIGN_OR_RETURN(const std::string_view pattern, Text(call, "regex"));
      PINGTI_ASSIGN_OR_RETURN(const ParsedRegex regex, ParseRegex(pattern, {}, grammar_));
      return regex.expr;
    }
    if (call.contains("ebnf")) {
      PINGTI_ASSIGN_OR_RETURN(const std::string_view text, Text(call, "ebnf"));
      PINGTI_RETURN_IF_ERROR(ParseEbnf(text, grammar_));
      return grammar_->Call(grammar_->root());
    }
    const json::value* schema = call.if_contains("schema");
    if (schema == nullptr) return Malformed("schema", "a JSON schema, a 'regex' or an 'ebnf'");
    if (call.contains("fields")) return ReadFields(*schema, call.at("fields"));
    // Tools without arguments look alike, and a call may be written in two ways.
    const auto [known, is_new] = schemas_.try_emplace(json::serialize(*schema), -1);
    if (is_new) {
      PINGTI_RETURN_IF_ERROR(SchemaCompiler(schema, grammar_).Run());
      known->second = grammar_->root();
    }
    return grammar_->Call(known->second);
  }

  absl::StatusOr<ExprId> ReadFields(const json::value& schema, const json::value& value) {
    if (!value.is_object()) return Malformed("fields", "an object");
    const json::object& fields = value.get_object();
    FieldFrames frames;
    PINGTI_ASSIGN_OR_RETURN(frames.name_begin, Text(fields, "name_begin"));
    PINGTI_ASSIGN_OR_RETURN(frames.name_end, Text(fields, "name_end"));
    PINGTI_ASSIGN_OR_RETURN(frames.value_end, Text(fields, "value_end"));
    PINGTI_ASSIGN_OR_RETURN(frames.separator, Text(fields, "separator"));
    PINGTI_ASSIGN_OR_RETURN(frames.bare_strings, Flag(fields, "bare_strings"));
    if (!schema.is_object() || !FitsFields(schema.get_object(), frames)) {
      return Malformed("schema", "an object with plain properties");
    }
    const auto text_up_to = [this](std::string_view mark) { return SharedTextUpTo(mark); };
    return FieldArguments(schema, frames, text_up_to, grammar_);
  }

  absl::StatusOr<ExprId> SharedTextUpTo(std::string_view mark) {
    const auto [known, is_new] = texts_.try_emplace(std::string(mark), -1);
    if (is_new) {
      known->second = grammar_->AddRule("text", /*shared=*/true);
      PINGTI_ASSIGN_OR_RETURN(const ExprId text, TextUpTo(mark, grammar_));
      grammar_->SetBody(known->second, text);
    }
    return grammar_->Call(known->second);
  }

  // Blanks, and then calls or words that begin otherwise.
  absl::StatusOr<ExprId> CallsUnlessWords(ExprId calls) {
    PINGTI_ASSIGN_OR_RETURN(const std::string_view text, Text(source_, "unless"));
    if (text.size() != 1 || !CodePoints::IsUtf8(text)) {
      return Malformed("unless", "one ASCII character");
    }
    const CharClass blank{{' ', ' '}, {'\t', '\t'}, {'\r', '\r'}, {'\n', '\n'}};
    CharClass not_first = blank;
    not_first.Add(CharClass::Of(static_cast<char32_t>(text[0])));
    const ExprId rest = grammar_->Repeat(grammar_->Class(CharClass::All()), 0, kUnbounded);
    const ExprId words = grammar_->Sequence({grammar_->Class(not_first.Complement()), rest});
    return grammar_->Sequence({grammar_->Repeat(grammar_->Class(blank), 0, kUnbounded),
                               grammar_->Choice({calls, grammar_->Optional(words)})});
  }

  absl::StatusOr<ExprId> CallsBehindMessages(const json::value& value, ExprId calls) {
    if (!value.is_object()) return Malformed("messages", "an object");
    const json::object& messages = value.get_object();
    PINGTI_ASSIGN_OR_RETURN(const ExprId begin, OneOfTexts(messages, "begins"));
    PINGTI_ASSIGN_OR_RETURN(const std::string_view end, Text(messages, "end"));
    const std::string_view special = SpecialAt(end);
    if (special.empty()) return Malformed("end", "a text that begins with one of 'special'");
    PINGTI_ASSIGN_OR_RETURN(const ExprId words, TextWithout(special, grammar_));
    const ExprId whole = grammar_->Sequence({begin, words, Fixed(end)});
    const ExprId last = grammar_->Sequence({begin, words});
    return grammar_->Sequence(
        {grammar_->Repeat(whole, 0, kUnbounded), grammar_->Choice({calls, last})});
  }

  // Up to the line breaks behind it.
  absl::StatusOr<ExprId> ReadThought(const json::value& value) {
    constexpr int32_t kMostBreaks = 4;
    if (!value.is_object()) return Malformed("thought", "an object");
    const json::object& thought = value.get_object();
    PINGTI_ASSIGN_OR_RETURN(const bool open, Flag(thought, "open"));
    PINGTI_ASSIGN_OR_RETURN(const ExprId begin, FixedText(thought, "begin"));
    PINGTI_ASSIGN_OR_RETURN(const std::string_view mark, Text(thought, "end"));
    ExprId text = 0;
    if (const std::string_view special = SpecialAt(mark); !special.empty()) {
      PINGTI_ASSIGN_OR_RETURN(const ExprId words, TextWithout(special, grammar_));
      text = grammar_->Sequence({words, Fixed(mark)});
    } else {
      PINGTI_ASSIGN_OR_RETURN(text, TextUpTo(mark, grammar_));
    }
    const ExprId breaks = grammar_->Repeat(grammar_->Literal("\n"), 0, kMostBreaks);
    if (open) return grammar_->Sequence({text, breaks});
    return grammar_->Optional(grammar_->Sequence({begin, text, breaks}));
  }

  const json::object& source_;
  Grammar* const grammar_;
  std::vector<std::string_view> special_;
  std::map<std::string, RuleId> schemas_;  // what was compiled, by its text
  std::map<std::string, RuleId> texts_;    // up to a mark
};

}  // namespace

absl::Status ParseToolCalls(std::string_view source, Grammar* grammar) {
  json::error_code error;
  json::parse_options options;
  options.max_depth = static_cast<size_t>(grammar->limits().max_nesting) * 4;
  const json::value parsed =
      json::parse(json::string_view(source.data(), source.size()), error, {}, options);
  if (error || !parsed.is_object()) return Malformed("", "a JSON object");
  return ToolCallsReader(parsed.get_object(), grammar).Run();
}

}  // namespace pingti::grammar
