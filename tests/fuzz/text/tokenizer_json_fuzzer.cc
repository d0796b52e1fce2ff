// Any bytes as a tokenizer.json and as a tiktoken file: refused or built, and then usable.
#include <cstdint>
#include <string_view>
#include <vector>

#include "common/text/tokenizer.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view file(reinterpret_cast<const char*>(data), size);
  std::vector<pingti::text::TokenId> ids;
  if (const auto tokenizer = pingti::text::MakeJsonTokenizer(file); tokenizer.ok()) {
    (void)(*tokenizer)->Encode("Hello, \xF0\x9F\x98\x80 world\xFF 123\n", {true, true}, &ids);
  }
  pingti::text::TiktokenOptions options;
  options.split_pattern = R"(\s+|\S+)";
  if (const auto tokenizer = pingti::text::MakeTiktokenTokenizer(file, options); tokenizer.ok()) {
    (void)(*tokenizer)->Encode("Hello, world", {true, true}, &ids);
  }
  (void)pingti::text::MakeQwenTokenizer(file);
  return 0;
}
