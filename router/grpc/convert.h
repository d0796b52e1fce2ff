// The public proto to and from the transport-neutral request and answer types.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "proto/pingti/v1/inference.pb.h"
#include "router/api/ignored_fields.h"
#include "router/api/request.h"

namespace pingti::router {

// `ignored` gets the fields of extra_body_json that are of no effect. Errors: InvalidArgument
// naming the field as the HTTP API does; what is not supported is refused.
absl::StatusOr<GenerationRequest> FromProto(const v1::ChatRequest& chat, IgnoredFields* ignored);
absl::StatusOr<GenerationRequest> FromProto(const v1::CompleteRequest& complete,
                                            IgnoredFields* ignored);
// A chat, or a completion with one text.
absl::StatusOr<GenerationRequest> FromProto(const v1::TokenizeRequest& tokenize,
                                            IgnoredFields* ignored);

void ToProto(const ChoiceDelta& delta, bool with_role, v1::ChatDelta* out);
void ToProto(const ChoiceDelta& delta, bool with_role, v1::CompleteDelta* out);
void ToProto(const UsageCounts& usage, v1::Usage* out);

// The message names the field: "temperature: ...".
std::string StatusText(const absl::Status& status);

}  // namespace pingti::router
