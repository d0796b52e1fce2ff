#include "worker/layers/draft_layers.h"

#include "worker/layers/eagle3_head.h"
#include "worker/layers/mtp_module.h"

namespace pingti::worker {

std::unique_ptr<DraftLayers> MakeDraftLayers(const DraftHeadSpec& spec) {
  if (std::holds_alternative<MtpSpec>(spec.form)) return std::make_unique<MtpModule>(spec);
  return std::make_unique<Eagle3Head>(spec);
}

}  // namespace pingti::worker
