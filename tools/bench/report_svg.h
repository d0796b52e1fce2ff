// The curves of a sweep as one SVG picture: latencies and throughput against load.
#pragma once

#include <string>

#include "tools/bench/report.h"

namespace pingti::tools {

// Four panels: TTFT, TPOT and E2E at p50, p95 and p99, and output tokens per second. A single run
// gives points. Needs nothing but an SVG viewer; follows its dark mode.
std::string ReportSvg(const BenchReport& report);

}  // namespace pingti::tools
