// The playground: a page at / that talks to this router's own API from the browser. Its files are
// compiled in (see CMakeLists.txt), so that the router stays one file.
#pragma once

#include "common/net/http_server.h"

namespace pingti::router {

// Answers GET and HEAD of the page and of its files; false, and nothing sent, for every other
// request. No key is asked for: the page holds nothing, and its own requests carry the user's key.
// Thread-safe.
bool ServePlayground(const net::HttpRequest& request, net::HttpResponder* responder);

}  // namespace pingti::router
