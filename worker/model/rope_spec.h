// Rotary frequencies from a model's configuration: plain, linear, dynamic NTK, YaRN, Llama 3.
#pragma once

#include "worker/layers/rotary_table.h"
#include "worker/spec/decoder_spec.h"

namespace pingti::worker {

// Sources: linear and dynamic NTK as in transformers' modeling_rope_utils; YaRN, Peng et al. 2023,
// section 3.4; Llama 3 as published with Llama 3.1 (frequencies below a wavelength kept, above
// another divided by `factor`, interpolated between). All layers have heads of one size.
RotarySpec MakeRotarySpec(const DecoderSpec& decoder);

}  // namespace pingti::worker
