// What the router's bench measures: a case each. A case starts a pingti-router of its own between
// its load and fake workers, and prints what it measured beside the goal, if there is one.
#pragma once

#include <string>
#include <string_view>

namespace pingti::bench {

// Prints a line: what was measured, and in which unit. `goal`: as docs/performance.md states it.
void PrintResult(std::string_view what, double value, std::string_view unit,
                 std::string_view goal = "");

// What the router adds to the time of a first token, at 1,000 requests per second.
void BenchLatency(const std::string& router);
// What a request costs with 10, 50 and 200 workers.
void BenchWorkers(const std::string& router);
// What a streamed token costs at 100,000 of them per second.
void BenchStreams(const std::string& router);
// What a prompt of 100,000 tokens costs at 10 of them per second. The vocabulary is that of the
// model which PINGTI_TEST_MODEL names.
void BenchPrompts(const std::string& router);
// Whether memory stays where it is while workers' caches turn over.
void BenchSoak(const std::string& router);

}  // namespace pingti::bench
