// TCP ports for servers that tests start, in this process or as processes of their own.
#pragma once

#include <cstdint>

namespace pingti::testing {

// A port of 127.0.0.1 that nobody listens on, given once, and to this process alone (ports.py takes
// part). It lies below the ports that Linux gives to outgoing connections, so that none of those
// can take it before the server starts. Stops this program when other processes hold all blocks.
uint16_t FreePort();

}  // namespace pingti::testing
