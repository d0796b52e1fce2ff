// See grammar_source.h.
#include "common/grammar/grammar_source.h"

#include <utility>

#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "common/grammar/ebnf_source.h"
#include "common/grammar/json_rules.h"
#include "common/grammar/json_schema.h"
#include "common/grammar/regex_source.h"
#include "common/grammar/tool_calls_source.h"

namespace pingti::grammar {
namespace {

absl::Status Parse(const GrammarSource& source, Grammar* grammar) {
  if (source.kind == GrammarSource::Kind::kJsonSchema) {
    return ParseJsonSchema(source.text, grammar);
  }
  if (source.kind == GrammarSource::Kind::kEbnf) return ParseEbnf(source.text, grammar);
  if (source.kind == GrammarSource::Kind::kToolCalls) return ParseToolCalls(source.text, grammar);
  const RuleId root = grammar->AddRule("root");
  grammar->SetRoot(root);
  if (source.kind == GrammarSource::Kind::kJsonObject) {
    JsonRules rules(grammar);
    const ExprId body = rules.AnyObject();
    grammar->SetBody(root, body);
    return grammar->status();
  }
  PINGTI_ASSIGN_OR_RETURN(const ParsedRegex regex, ParseRegex(source.text, {}, grammar));
  grammar->SetBody(root, regex.expr);
  return grammar->status();
}

}  // namespace

absl::StatusOr<Automaton> CompileGrammar(const GrammarSource& source, const GrammarLimits& limits) {
  if (source.text.size() > limits.max_source_bytes) {
    return absl::ResourceExhaustedError(Concat("the grammar's source has ", source.text.size(),
                                               " bytes: expected at most ",
                                               limits.max_source_bytes));
  }
  Grammar grammar(limits);
  PINGTI_RETURN_IF_ERROR(Parse(source, &grammar));
  return Automaton::Compile(std::move(grammar));
}

GrammarSource OneOfTexts(const std::vector<std::string>& texts) {
  GrammarSource source{GrammarSource::Kind::kEbnf, "root ::= "};
  for (size_t i = 0; i < texts.size(); ++i) {
    source.text += i == 0 ? "\"" : " | \"";
    for (const char c : texts[i]) {
      if (c == '"' || c == '\\') {
        source.text += '\\';
        source.text += c;
      } else if (c == '\n') {
        source.text += "\\n";
      } else {
        source.text += c;
      }
    }
    source.text += '"';
  }
  return source;
}

}  // namespace pingti::grammar
