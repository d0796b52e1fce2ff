// GPT-2's spelling of bytes as printable characters: vocabularies of byte-level models are written
// in it ("Ġthe" is " the"). Source: openai/gpt-2, encoder.py, bytes_to_unicode.
// Stateless, thread-safe.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace pingti::text {

// The bytes that `spelling` stands for; nullopt when a character is not of the alphabet.
std::optional<std::string> DecodeByteAlphabet(std::string_view spelling);

}  // namespace pingti::text
