// A weight matrix in the panel layout of cpu_kernels.h: converted and packed once while loading.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "absl/status/statusor.h"
#include "worker/backend/backend.h"
#include "worker/backend/cpu/aligned_buffer.h"
#include "worker/backend/cpu/cpu_kernels.h"
#include "worker/backend/cpu/thread_pool.h"

namespace pingti::worker::cpu {

struct RowScratch;  // of a packing thread

// Immutable; thread-safe.
class PackedMatrix {
 public:
  // Packs `source`, in parallel over panels. Errors: InvalidArgument, Unimplemented.
  static absl::StatusOr<PackedMatrix> Pack(const MatrixSource& source, WeightFormat format,
                                           ThreadPool* pool);

  const MatrixFormat& format() const { return format_; }
  PanelFormat panel_format() const { return panel_format_; }
  int64_t rows() const { return rows_; }    // output columns
  int64_t depth() const { return depth_; }  // input values, not padded
  int64_t padded_depth() const { return padded_depth_; }
  int64_t num_panels() const { return (rows_ + kPanelCols - 1) / kPanelCols; }
  int64_t bytes() const { return data_.bytes() + scales_.bytes(); }
  const uint8_t* panel(int64_t p) const { return data_.as<uint8_t>() + p * panel_bytes_; }
  // kI8 only: [kPanelCols] of panel p.
  const float* column_scale(int64_t p) const {
    return scales_.bytes() == 0 ? nullptr : scales_.as<float>() + p * kPanelCols;
  }

 private:
  PackedMatrix() = default;
  void PackPanel(const MatrixSource& source, int64_t p, RowScratch* scratch);

  MatrixFormat format_;
  PanelFormat panel_format_ = PanelFormat::kF32;
  int64_t rows_ = 0;
  int64_t depth_ = 0;
  int64_t padded_depth_ = 0;
  int64_t panel_bytes_ = 0;
  AlignedBuffer data_;
  AlignedBuffer scales_;
};

}  // namespace pingti::worker::cpu
