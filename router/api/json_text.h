// Writing JSON by hand into a string, as all three APIs' answers are: a chunk is written for every
// token, and a tree in between would cost more than the text.
#pragma once

#include <string>
#include <string_view>

namespace pingti::router {

// Appends `text` quoted and escaped (RFC 8259). Bytes that are not UTF-8 come out as U+FFFD.
void AppendJsonString(std::string_view text, std::string* out);
// The same as a value of its own.
std::string JsonString(std::string_view text);

// A server-sent event whose name is also the "type" of its data, up to and with that member; the
// caller goes on with ",..." and ends with "}\n\n".
void BeginTypedEvent(std::string_view type, std::string* out);

}  // namespace pingti::router
