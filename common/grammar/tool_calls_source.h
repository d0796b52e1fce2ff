// Tool calls to grammar: fixed text around each tool's arguments, which follow its JSON schema.
//
// The source is a JSON object: {"begin": text, "separator": text, "end": text, "many": boolean,
// "calls": [{"begin": text, "schema": {...}, "end": text}, ...]}. What matches is `begin`, one call
// (with `many` any number of them from one up, `separator` between them), `end`; a call is one of
// `calls`. A document that may stand in a call's place is one without text around it.
//
// Before that, a thought where there is "thought": {"begin": text, "end": text, "open": boolean}:
// open, it has begun already and must end; else the answer may begin with it or not. With "free":
// mark, words may stand before the first call, and in place of all calls; the mark, with which
// calls begin, is none of them. Pure. Read next: json_schema.h for what a schema may say.
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
