// Calls written as a Python list, [f(a=1, b='x'), g()], with literals for arguments. Pure.
#pragma once

#include <cstddef>
#include <string_view>
#include <vector>

#include "router/pipeline/tool_call_bodies.h"

namespace pingti::router {

// Follows the brackets of a text that begins with one, as it arrives. Thread-compatible.
class PythonBrackets {
 public:
  // Takes bytes from `text` up to the bracket that closes the first; returns how many.
  size_t Push(std::string_view text);
  bool closed() const { return closed_; }

 private:
  int depth_ = 0;
  char quote_ = 0;  // of the string that is open; 0: none
  bool escaped_ = false;
  bool closed_ = false;
};

// The calls of `text`, white space around it allowed; none when it is anything else. Positional
// arguments are none that a JSON object could have.
std::vector<WholeCall> ReadPythonCalls(std::string_view text);

}  // namespace pingti::router
