// Tool calls to grammar: fixed text around each tool's arguments, which follow its JSON schema.
//
// The source is a JSON object: {"begin": text, "separator": text, "end": text, "many": boolean,
// "calls": [{"begin": text, ..., "end": text}, ...]}. What matches is `begin`, one call (with
// `many` any number of them from one up, `separator` between them), `end`; a call is one of
// `calls`. "others": [...] has further objects of that kind, any of which may stand instead. With
// "behind": [texts], one of them stands behind every call's `begin`.
//
// Between a call's `begin` and `end` stands one of: "schema": JSON that follows it; "schema" and
// "fields": {"name_begin", "name_end", "value_end", "separator": texts, "bare_strings": boolean}:
// its properties as field_arguments.h has it; "regex" or "ebnf": a text of that form. With
// "number": text, a decimal number and that text stand before it. A document that may stand in a
// call's place is a call without text around it.
//
// Before that, a thought where there is "thought": {"begin": text, "end": text, "open": boolean}:
// open, it has begun already and must end; else the answer may begin with it or not. With "free":
// mark, words may stand before the first call, and in place of all calls; the mark, with which
// calls begin, is none of them. With "unless": character, words may stand in place of all calls
// that do not begin with it, which all calls do. With "messages": {"begins": [texts], "end": text},
// words stand in messages: any number of them before the calls, and one without `end` in place of
// all calls; `end` begins with a control token, which no words spell.
//
// "special": [texts] are spellings of control tokens: where one stands in a fixed text, it is the
// token (see control_token.h). Pure. Read next: json_schema.h for what a schema may say.
#pragma once

#include <string_view>

#include "absl/status/status.h"
#include "common/grammar/grammar.h"

namespace pingti::grammar {

// Adds the calls' rules to an empty grammar and sets its root.
// Errors: InvalidArgument or Unimplemented naming the call and, within its schema, the pointer;
// ResourceExhausted and DeadlineExceeded by the limits.
absl::Status ParseToolCalls(std::string_view source, Grammar* grammar);

}  // namespace pingti::grammar
