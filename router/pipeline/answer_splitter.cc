// See answer_splitter.h.
#include "router/pipeline/answer_splitter.h"

#include "router/pipeline/harmony_splitter.h"
#include "router/pipeline/reasoning_splitter.h"

namespace pingti::router {

std::unique_ptr<AnswerSplitter> MakeAnswerSplitter(ReasoningFormat format,
                                                   const SplitOptions& options) {
  if (format == ReasoningFormat::kHarmony) {
    return std::make_unique<HarmonySplitter>(options);
  }
  return std::make_unique<ReasoningSplitter>(MarkersOf(format), options.open, options.call_mark);
}

}  // namespace pingti::router
