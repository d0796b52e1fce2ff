// Grammars as text, in the notation that llama.cpp made known as GBNF.
//
//   root   ::= "yes" | "no, " reason   # the text must match root
//   reason ::= [a-z ]+ "."
//
// A rule is `name ::= alternatives`; names are letters, digits, '-' and '_'. Literals "..." know
// \n \r \t \\ \" \xHH \uHHHH \UHHHHHHHH, classes [...] the same and ranges and a leading '^', '.'
// is any character, ( ) group, and * + ? {n} {n,} {n,m} repeat what stands before them. Left
// recursion is refused by the compiler. Pure.
#pragma once

#include <string_view>

#include "absl/status/status.h"
#include "common/grammar/grammar.h"

namespace pingti::grammar {

// Adds the source's rules to an empty grammar and sets its root.
// Errors: InvalidArgument naming the line and what is wrong there; ResourceExhausted by the limits.
absl::Status ParseEbnf(std::string_view source, Grammar* grammar);

}  // namespace pingti::grammar
