// The parsed template: expressions and statements as plain data. Immutable after parsing; owned by
// the Template. Names of variables are numbered so that scopes compare integers.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "common/text/jinja/value.h"
#include "common/text/jinja/value_ops.h"

namespace pingti::text::jinja {

struct FilterEntry;
struct TestEntry;

using Symbol = int;

enum class ExprKind {
  kConstant,     // constant
  kName,         // symbol
  kList,         // operands
  kTuple,        // operands
  kDict,         // operands: key, value, key, value, ...
  kAttribute,    // operands[0] . name
  kSubscript,    // operands[0] [ operands[1] ]
  kSlice,        // operands[0] [ operands[1] : operands[2] : operands[3] ], null where left out
  kCall,         // operands[0] ( arguments )
  kFilter,       // operands[0] | filter ( arguments ); operands[0] null in filter blocks
  kTest,         // operands[0] is test ( arguments )
  kArithmetic,   // operands[0] op operands[1]
  kConcatenate,  // operands joined by ~
  kNegate,
  kPlus,
  kNot,
  kAnd,
  kOr,
  kCompare,      // operands[0] comparisons[0] operands[1] comparisons[1] ...
  kConditional,  // operands: value, condition, otherwise (may be null)
};

enum class Comparison {
  kEqual,
  kNotEqual,
  kLess,
  kLessEqual,
  kGreater,
  kGreaterEqual,
  kIn,
  kNotIn
};

struct Expr {
  ExprKind kind;
  int line = 0;
  int height = 1;  // of the tree below: evaluating and freeing are recursive
  Value constant;
  Symbol symbol = -1;
  std::string name;
  std::vector<std::unique_ptr<Expr>> operands;
  std::vector<std::unique_ptr<Expr>> positional;  // arguments
  std::vector<std::pair<std::string, std::unique_ptr<Expr>>> keyword;
  std::unique_ptr<Expr> star, double_star;  // *args, **kwargs
  BinaryOp op = BinaryOp::kAdd;
  std::vector<Comparison> comparisons;
  // Null: there is none of that name, which is an error when the node is reached.
  const FilterEntry* filter = nullptr;
  const TestEntry* test = nullptr;
};

// What an assignment writes to: a name, a namespace's attribute, or several of them.
struct Target {
  Symbol symbol = -1;
  std::string attribute;  // not empty: namespace `symbol`, this attribute
  std::vector<Target> parts;
  int line = 0;
};

struct Parameter {
  Symbol symbol;
  std::string name;
  std::unique_ptr<Expr> otherwise;  // default value, may be null
};

enum class StmtKind {
  kData,        // text
  kPrint,       // value
  kIf,          // value, body, otherwise
  kFor,         // target, value, condition, body, otherwise, recursive
  kSet,         // target = value
  kSetBlock,    // target = body, through the filters in value
  kWith,        // assignments, body
  kMacro,       // symbol, text (its name), parameters, body
  kCallBlock,   // parameters, value (the call), body
  kFilter,      // value (filters), body
  kGeneration,  // body
  kBreak,
  kContinue,
};

struct Stmt {
  StmtKind kind;
  int line = 0;
  std::string text;
  Symbol symbol = -1;
  Target target;
  std::unique_ptr<Expr> value, condition;
  std::vector<std::unique_ptr<Stmt>> body, otherwise;
  std::vector<std::pair<Target, std::unique_ptr<Expr>>> assignments;
  std::vector<Parameter> parameters;
  bool recursive = false;
  bool uses_caller = false, uses_varargs = false, uses_kwargs = false;  // kMacro, kCallBlock
};

struct Ast {
  std::vector<std::unique_ptr<Stmt>> body;
  std::vector<std::string> symbols;  // by Symbol
};

}  // namespace pingti::text::jinja
