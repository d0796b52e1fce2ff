// What a client sends along to find its request again in logs and traces. Echoed in the answer.
#pragma once

#include <string>
#include <string_view>

namespace pingti::router {

struct ClientIds {
  std::string request_id;    // x-request-id
  std::string trace_parent;  // traceparent, as W3C Trace Context (level 1) writes version 00
};

// Takes up what is well-formed; the rest is left empty, as if it had not been sent: a request id of
// 1 to 128 letters, digits and characters of "-_.:/+=@~", so that it can stand in a log line and a
// header as it is.
ClientIds ReadClientIds(std::string_view request_id, std::string_view trace_parent);

}  // namespace pingti::router
