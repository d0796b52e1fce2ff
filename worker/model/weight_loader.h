// Turns declared weights into prepared ones: takes their tensors out of a checkpoint, converts and
// packs them on a backend, and puts them where their blocks keep them. Part of load_model.h.
#pragma once

#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/backend/backend.h"
#include "worker/layers/declarations.h"
#include "worker/model/declared_tensors.h"
#include "worker/model/load_model.h"
#include "worker/quant/slice_matrix.h"
#include "worker/weights/checkpoint.h"

namespace pingti::worker {

// Confined to one thread.
class WeightLoader {
 public:
  // All must outlive the loader.
  WeightLoader(const Checkpoint& checkpoint, Backend* backend, const LoadOptions& options);

  // Fills the place of every declared weight, in order.
  // Errors: those of FindModuleTensors and of the backend.
  absl::Status Load(const Declarations& declarations);

 private:
  absl::Status LoadOne(const DeclaredWeight& declared);
  absl::StatusOr<std::unique_ptr<LinearWeight>> Linear(const WeightSpec& weight);
  absl::StatusOr<std::unique_ptr<EmbeddingTable>> Embedding(const WeightSpec& weight);
  absl::StatusOr<std::unique_ptr<DeviceBuffer>> Vector(const WeightSpec& weight);
  // Appends the part's matrix and bias. The bias is empty as long as no part had one.
  absl::Status AddPart(const WeightSpec& weight, const RowBlock& part, LinearSource* source);
  void AddStackToSources(const ModuleTensors& tensors);
  // The part's rows of a module whose rows do not lie together as a matrix.
  TensorView StackedRows(const ModuleTensors& tensors, const RowBlock& part);
  absl::StatusOr<MatrixSource> Matrix(const ModuleTensors& tensors, const WeightSpec& weight,
                                      const RowBlock& part);
  WeightFormat FormatOf(const WeightSpec& weight) const;
  void MarkOthersExperts(const Declarations& declarations);
  void MarkUsed(const std::vector<const TensorView*>& tensors);
  void ReleaseSources();
  void ReportProgress() const;

  const Checkpoint& checkpoint_;
  Backend* const backend_;
  const LoadOptions& options_;
  std::set<std::string> used_;
  SliceMemory slices_;                // of the weight that is being prepared
  std::vector<TensorView> sources_;   // of the same
  std::vector<TensorView> released_;  // of the one before
  int64_t done_bytes_ = 0;
};

}  // namespace pingti::worker
