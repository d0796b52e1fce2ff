// The operations a decoder needs of a device. worker/layers is written against this header alone;
// cpu/ and cuda/ implement it, and one test table checks both.
//
// A Backend is confined to the engine thread (loading happens there too, before the first step).
// Operations are issued in order and may complete later; Sample and Logprobs return when their
// results are there. Activations are matrices of activation_dtype(), one row per token. Everything
// that is prepared once (weights, cache, workspace) is a handle whose destructor frees it; handles
// must not outlive their backend. Any operation may return DataLoss (see IsDeviceLost).
//
// Next: cpu/cpu_backend.h; worker/layers/decoder_layer.h for the order in which they are used.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/base/clock.h"
#include "worker/backend/block_copy.h"
#include "worker/backend/kv_block_layout.h"
#include "worker/backend/kv_shape.h"
#include "worker/backend/lora.h"
#include "worker/backend/matrix_format.h"
#include "worker/backend/operand.h"
#include "worker/backend/sampling_params.h"
#include "worker/backend/sampling_parts.h"
#include "worker/tensor/activation_function.h"
#include "worker/tensor/expert_routing.h"
#include "worker/tensor/matrix_source.h"
#include "worker/tensor/tensor_view.h"

namespace pingti::worker {

// What is asked of matrix products. A backend makes of it a MatrixFormat, which LinearWeight tells.
enum class WeightFormat {
  kF32,
  kBf16,
  kInt8,  // W8A8: symmetric scales per output channel and per token
  // W8A16: int8 weights with symmetric scales, activations as they are; in a backend without such
  // products, kStored.
  kInt8Weights,
  kStored,  // a quantized weight stays as it is where the backend has a kernel; else bf16
};
// "f32", "bf16", "int8", "int8_weights", "stored".
std::string_view WeightFormatName(WeightFormat format);

// y = x W^T + bias, where W stacks the rows of all parts.
struct LinearSource {
  std::vector<MatrixSource> parts;  // equal cols
  std::vector<float> bias;          // empty, or one value per row of the stack
  WeightFormat format = WeightFormat::kBf16;
  bool f32_out = false;  // Linear will be asked for f32, as for logits
  // Not 0: the parts are so many equal stacks, one per expert, and products are asked for with
  // ExpertLinear alone.
  int64_t experts = 0;
  // Not 0: the parts are so many equal matrices, one per head, kept in the type of activations, and
  // products are asked for with HeadLinear alone. No bias.
  int64_t heads = 0;
  // Of heads alone: y = x W, so that each head's matrix is [in_features, out_features].
  bool transposed = false;
};

class LinearWeight {
 public:
  virtual ~LinearWeight() = default;
  // Of a weight with heads, those of one head.
  virtual int64_t out_features() const = 0;
  virtual int64_t in_features() const = 0;
  // Of the first part that reads quantized activations, if there is one, else of the first part: a
  // backend may keep each part of a stack in its own format.
  virtual MatrixFormat format() const = 0;
  // The form of activations that products with this weight read.
  OperandType operand_type() const { return format().operand; }
  virtual int64_t bytes() const = 0;
};

// Rows of an embedding: those of the tokens from `first_token` on, which may be a share of the
// vocabulary's.
struct EmbeddingSource {
  MatrixSource rows;
  WeightFormat format = WeightFormat::kBf16;
  int64_t first_token = 0;
  int64_t vocab_size = 0;  // 0: the rows are the vocabulary
};

class EmbeddingTable {
 public:
  virtual ~EmbeddingTable() = default;
  virtual int64_t bytes() const = 0;
};

// Memory on the backend's device.
class DeviceBuffer {
 public:
  virtual ~DeviceBuffer() = default;
  virtual void* data() = 0;
  virtual const void* data() const = 0;
  virtual int64_t bytes() const = 0;
};

// Memory of the host, for what CopyToHost brings in every step.
class HostBuffer {
 public:
  virtual ~HostBuffer() = default;
  virtual std::span<float> values() = 0;
};

// The paged keys and values of all layers; their layout is the backend's own. Token t of a sequence
// lies in block block_table[t / block_tokens] at offset t % block_tokens.
class KvCache {
 public:
  virtual ~KvCache() = default;
  // Of a block that ExportBlocks wrote.
  virtual const KvBlockLayout& block_layout() const = 0;
};

// Precision of cached keys and values.
enum class KvFormat {
  kModel,  // of the model they belong to: f32 for f32, 16 bit for every other format
  // Symmetric. Keys and values: a scale per token and head; latents: one per 64 elements, and the
  // rotated key behind them stays 16 bit.
  kInt8,
};

struct KvCacheShape {
  std::vector<KvLayerShape> layers;
  int64_t num_blocks = 0;
  int64_t block_tokens = 0;
  WeightFormat format = WeightFormat::kBf16;  // of the model
  KvFormat kv_format = KvFormat::kModel;
};

// Latent attention (DeepSeek-V2, section 2.1) in its absorbed form: all heads read one key per
// token, [latent | rotated], and the latent is the value, too.
struct LatentAttentionShape {
  int64_t num_heads = 0;
  int64_t latent_dim = 0;  // DeepSeek: 512
  int64_t rope_dim = 0;    // DeepSeek: 64
  float scale = 1.0f;      // of the scores

  int64_t key_dim() const { return latent_dim + rope_dim; }
};

// Upper bounds of every later step, for workspace that is allocated once.
struct StepLimits {
  int64_t max_tokens = 0;
  int64_t max_seqs = 0;
  int64_t max_in_features = 0;
  int64_t max_blocks_per_seq = 0;
  // Of attention over keys and values; zeros where there is none.
  int64_t num_heads = 0;
  int64_t num_kv_heads = 0;
  int64_t head_dim = 0;
  LatentAttentionShape latent{};  // without heads where there is none
  int64_t vocab_size = 0;
  int64_t part_rows = 0;     // of SampleParts; 0: it is not called
  int64_t max_adapters = 0;  // slots that a step may name
  // Linear may be given operands that lack the form which the weight reads, and makes it itself, in
  // workspace that is allocated for that.
  bool plain_operands = false;
  // The most of any layer; 0: there are no experts.
  int64_t num_experts = 0;
  int64_t experts_per_token = 0;
  int64_t max_expert_inner = 0;  // in_features of ExpertLinear with rows of experts

  // Dimensions that rotate, of which StepInputs has cosines and sines.
  int64_t rope_dim() const { return head_dim == 0 ? latent.rope_dim : head_dim; }
};

// Whose operations those of a step are: records of several do not stand for each other.
enum class StepWork {
  kModel,
  kHeadDrafts,  // a draft head's first drafts, from its model's states
  kHeadChain,   // its further ones, from its own
};

// What a step's operations depend on besides the contents of its arrays, if every token of a model
// or the last one of each sequence of a head gets logits: steps of equal shape are the same work.
struct StepShape {
  int32_t num_seqs = 0;
  int32_t query_len = 0;  // tokens of each sequence, or of the longest
  int32_t num_tokens = 0;
  bool uniform = true;        // all sequences have query_len tokens
  bool highest_only = false;  // see ForwardBatch
  bool adapters = false;      // some of the sequences may have one
  StepWork work = StepWork::kModel;

  auto operator<=>(const StepShape&) const = default;
};

// One step's batch, in host memory that the caller keeps unchanged until the step's last operation;
// see ForwardBatch in worker/model/model.h for the meaning.
struct StepInputs {
  std::span<const int32_t> token_ids;    // [num_tokens]
  std::span<const int32_t> positions;    // [num_tokens]
  std::span<const int32_t> query_start;  // [num_seqs + 1]
  std::span<const int32_t> context_len;  // [num_seqs]
  std::span<const int32_t> block_table;  // [num_seqs, max_blocks_per_seq]
  int32_t max_blocks_per_seq = 0;
  std::span<const float> rope_cos;  // [num_tokens, StepLimits::rope_dim() / 2]
  std::span<const float> rope_sin;  // [num_tokens, StepLimits::rope_dim() / 2]
  int32_t block_tokens = 0;
  // What Backend::Padded made of the step's shape: operations have rows for so many tokens. Those
  // behind the batch's own mean nothing, and nothing is cached for them. None: no more rows than
  // tokens.
  std::optional<StepShape> padded = std::nullopt;
  // The slot of each sequence's adapter, or kNoAdapterSlot; empty: no sequence has one. [num_seqs]
  std::span<const int32_t> adapter_slots{};
  // What GatherStepRows takes for each token; empty: it is not called. [num_tokens]
  std::span<const int32_t> rows{};
};

struct AttentionShape {
  int64_t num_heads = 0;
  int64_t num_kv_heads = 0;
  int64_t head_dim = 0;
  float scale = 1.0f;  // of the scores
  int64_t window = 0;  // a token sees the last `window` tokens, itself included; 0: all
  // Not 0: a score s becomes logit_softcap * tanh(s / logit_softcap), after scaling (Gemma 2).
  float logit_softcap = 0.0f;
  // ALiBi (Press et al., "Train Short, Test Long"): a key at position j adds slope * (j - i) to the
  // score of a query at position i. f32 [num_heads]; null: none.
  const DeviceBuffer* alibi_slopes = nullptr;
  // One more score per head, of no key, that takes part in its softmax and adds nothing to its sum
  // (Xiao et al., "Efficient Streaming Language Models with Attention Sinks", section 3.3). f32
  // [num_heads]; null: none.
  const DeviceBuffer* sinks = nullptr;
};

// Whether attention of this shape may read a cache's layer: a key and a value plane of its sizes,
// which keep as many tokens as it sees.
bool Fits(const AttentionShape& attention, const KvLayerShape& layer);
// The same of latent attention: one latent plane of its key, and no window.
bool Fits(const LatentAttentionShape& attention, const KvLayerShape& layer);

// RMS norm of each query and key head before rotation; null: none.
struct HeadNorms {
  const DeviceBuffer* q = nullptr;  // f32 [head_dim]
  const DeviceBuffer* k = nullptr;  // f32 [head_dim]
  float eps = 0.0f;
};

// What every head has in the rows of a matrix of activations: head h the `cols` columns from
// first + h * stride on.
struct HeadsView {
  MatrixView matrix;
  int64_t heads = 0;
  int64_t first = 0;
  int64_t stride = 0;  // elements from one head's columns to the next one's
  int64_t cols = 0;
};

// What the rows of a matrix of activations are.
enum class RowOrder {
  kByToken,   // one per token
  kByExpert,  // one per token and expert that was chosen for it; see Backend::RouteExperts
};

// The feed-forward that every token takes beside its experts. Without data: there is none.
struct SharedExpert {
  MatrixView out;   // [tokens, hidden]
  MatrixView gate;  // f32 [tokens, 1]: its sigmoid scales `out`; without data: not scaled
};

// Whether an operation failed with DataLoss: the device takes no more work, whatever is asked of
// it, and only a new process helps.
inline bool IsDeviceLost(const absl::Status& status) { return absl::IsDataLoss(status); }

// Points in the order of a backend's operations, and when its device passed them. For profiling:
// marking never waits, so that operations between marks run as close together as they can.
class DeviceTimer {
 public:
  virtual ~DeviceTimer() = default;
  // A point after all that was issued so far.
  virtual absl::Status Mark() = 0;
  // Waits for the last mark and forgets all. Returns the seconds from each mark to the next,
  // [number of marks - 1].
  virtual absl::StatusOr<std::vector<double>> Take() = 0;
};

// Where a backend issues its operations, for libraries that issue their own among them.
struct DeviceStream {
  int device = 0;          // CUDA: index of the device
  void* stream = nullptr;  // CUDA: cudaStream_t
};

class Backend {
 public:
  virtual ~Backend() = default;

  virtual std::string_view name() const = 0;
  virtual DType activation_dtype() const = 0;
  // None: operations are complete when they return.
  virtual std::optional<DeviceStream> stream() const { return std::nullopt; }

  // ---- once, while loading

  // Errors: ResourceExhausted.
  virtual absl::StatusOr<std::unique_ptr<DeviceBuffer>> Allocate(int64_t bytes) = 0;
  // Of a kind that the device writes to without staging. Errors: ResourceExhausted.
  virtual absl::StatusOr<std::unique_ptr<HostBuffer>> AllocateHost(int64_t num_values);
  virtual absl::StatusOr<std::unique_ptr<DeviceBuffer>> UploadF32(
      std::span<const float> values) = 0;
  // Converts and packs. Errors: InvalidArgument (shapes), Unimplemented (type, by name).
  virtual absl::StatusOr<std::unique_ptr<LinearWeight>> PrepareLinear(
      const LinearSource& source) = 0;
  virtual absl::StatusOr<std::unique_ptr<EmbeddingTable>> PrepareEmbedding(
      const EmbeddingSource& source) = 0;
  // Device memory for each block, over all layers and planes.
  virtual int64_t KvBytesPerBlock(const KvCacheShape& shape) const = 0;
  // Errors: Unimplemented, naming the layer, for planes or sizes that the backend has no attention
  // for; InvalidArgument (sizes below 1); ResourceExhausted.
  virtual absl::StatusOr<std::unique_ptr<KvCache>> AllocateKvCache(const KvCacheShape& shape) = 0;
  // About what AllocateWorkspace takes.
  virtual int64_t WorkspaceBytes(const StepLimits& limits) const = 0;
  virtual absl::Status AllocateWorkspace(const StepLimits& limits) = 0;

  // Whether adapters can be added to a product of this shape. Errors: Unimplemented, saying which
  // shapes can.
  virtual absl::Status CheckLora(const LoraShape& shape) const;
  // Slots without adapters for all products of a model, once, before AllocateWorkspace. Errors:
  // ResourceExhausted; those of CheckLora.
  virtual absl::StatusOr<std::unique_ptr<LoraSlots>> AllocateLora(
      std::span<const LoraShape> products);

  // ---- beside the steps; what copies to the host waits for all that was issued

  // values = matrix in f32, dense. REQUIRES: rows * cols values.
  virtual absl::Status CopyToHost(MatrixView matrix, std::span<float> values) = 0;
  // matrix = values, rounded to its type. REQUIRES: rows * cols values.
  virtual absl::Status CopyFromHost(std::span<const float> values, MatrixView matrix) = 0;
  // Writes the blocks one after the other, each in cache.block_layout(), as they are after all
  // that was issued. Errors: InvalidArgument, naming a block that the cache does not have, or a
  // size of `out` other than blocks * block_layout().bytes; nothing is written then.
  virtual absl::Status ExportBlocks(const KvCache& cache, std::span<const int32_t> blocks,
                                    std::span<std::byte> out) = 0;
  // Reads what ExportBlocks of a cache with an equal layout wrote, into blocks that may be others.
  // Returns when `in` was taken; what was issued before sees the blocks as they were. Errors: as
  // for ExportBlocks, and InvalidArgument for a block that is named twice.
  virtual absl::Status ImportBlocks(KvCache& cache, std::span<const int32_t> blocks,
                                    std::span<const std::byte> in) = 0;
  // Puts an adapter into a slot, in place of the one that was there: issues a copy, or takes the
  // image as it is. REQUIRES: an image of these slots. Errors: Unimplemented as above.
  virtual absl::Status SetLora(LoraSlots& slots, int32_t slot,
                               std::shared_ptr<const LoraImage> image);
  // `clock` serves where operations are complete when they return, as they are here; it must
  // outlive the timer.
  virtual std::unique_ptr<DeviceTimer> MakeTimer(const Clock* clock);

  // ---- each step; matrices have num_tokens rows unless said otherwise. Operations that write an
  // Operand write every form that it has.

  // The shape to give a step instead of its own, at least as large: a device that records steps
  // then needs few records for steps whose sequences have unequally many tokens.
  virtual StepShape Padded(const StepShape& shape) const { return shape; }
  // Whether Issue makes a record of such steps, in the shape that Padded gives them.
  virtual bool Records(const StepShape& /*padded*/) const { return false; }
  // Operations until the next BeginStep belong to this batch.
  virtual absl::Status BeginStep(const StepInputs& inputs) = 0;
  // Calls `operations`, which issues operations of the step. With `repeats` they depend on nothing
  // but the step's arrays and this shape: a device may record them and repeat the record, without
  // the call, for later steps of an equal shape.
  virtual absl::Status Issue(const std::optional<StepShape>& /*repeats*/,
                             const std::function<absl::Status()>& operations) {
    return operations();
  }
  // Drops what Issue recorded, so that something which the records refer to may go.
  virtual void ForgetRecords() {}
  virtual absl::Status CopyBlocks(KvCache& cache, std::span<const BlockCopy> copies) = 0;
  // out[t] = the row of token_ids[t]; zeros for a token of the vocabulary that the table lacks.
  virtual absl::Status Embed(const EmbeddingTable& table, MatrixView out) = 0;
  // out = x / sqrt(mean(x^2) + eps) * weight; x and out may be the same.
  virtual absl::Status RmsNorm(MatrixView x, const DeviceBuffer& weight, float eps,
                               const Operand& out) = 0;
  // residual += delta; out = RmsNorm(residual).
  virtual absl::Status AddRmsNorm(MatrixView delta, MatrixView residual, const DeviceBuffer& weight,
                                  float eps, const Operand& out) = 0;
  // out = (x - mean(x)) / sqrt(variance(x) + eps) * weight + bias; x and out may be the same.
  // `bias` may be null: none.
  virtual absl::Status LayerNorm(MatrixView x, const DeviceBuffer& weight, const DeviceBuffer* bias,
                                 float eps, const Operand& out) = 0;
  // residual += delta; out = LayerNorm(residual).
  virtual absl::Status AddLayerNorm(MatrixView delta, MatrixView residual,
                                    const DeviceBuffer& weight, const DeviceBuffer* bias, float eps,
                                    const Operand& out) = 0;
  // sum += delta.
  virtual absl::Status Add(MatrixView delta, MatrixView sum) = 0;
  // out = x W^T + bias; any number of rows. `out` may be f32 whatever activation_dtype() is.
  // Errors: InvalidArgument when x lacks the form that the weight reads and
  // StepLimits::plain_operands was not set.
  virtual absl::Status Linear(const LinearWeight& weight, const Operand& x, MatrixView out) = 0;
  // Linear, and of every row whose sequence has an adapter: out += (x A^T) B^T. x and out have a
  // row for each of the step's tokens. What is added to a row depends on nothing else that is in
  // the step. `out` is of activation_dtype(). Errors: those of Linear.
  virtual absl::Status AdaptedLinear(const LinearWeight& weight, const LoraWeights& adapters,
                                     const Operand& x, MatrixView out);
  // The same into f32 logits, whose row i is of the step's token tokens[i]; without `tokens` they
  // have a row for each. Errors: those of Linear.
  virtual absl::Status AdaptedLogits(const LinearWeight& weight, const LoraWeights& adapters,
                                     const Operand& x, std::span<const int32_t> tokens,
                                     MatrixView logits);
  // Embed, and of every token whose sequence has an adapter: its row += A[:, token]^T B^T.
  virtual absl::Status AdaptedEmbed(const EmbeddingTable& table, const LoraWeights& adapters,
                                    MatrixView out);
  // qkv: rows of [num_heads + 2 * num_kv_heads, head_dim]. Normalises (if asked) and rotates q and
  // k by halves (element i with i + head_dim / 2), q in place, and writes k and v into the cache.
  virtual absl::Status RopeAndAppendKv(MatrixView qkv, const AttentionShape& shape,
                                       const HeadNorms& norms, KvCache& cache, int64_t layer) = 0;
  // Causal attention of the batch's queries over their sequences' cached keys and values.
  // out: [num_tokens, num_heads * head_dim].
  virtual absl::Status Attention(MatrixView qkv, const AttentionShape& shape, const KvCache& cache,
                                 int64_t layer, const Operand& out) = 0;
  // out of head h = x of head h times that head's matrix, for each head of the weight (see
  // LinearSource::heads). Where `form` has values, it is the quantized form of out's whole rows,
  // which the heads then cover without gaps. x and out do not overlap. Errors: Unimplemented where
  // the backend has no latent attention; the same for the two operations below.
  virtual absl::Status HeadLinear(const LinearWeight& weight, const HeadsView& x,
                                  const HeadsView& out, const QuantizedView& form);
  // kv: rows of [latent_dim + rope_dim]. Caches RmsNorm of the latent with `norm_weight`, f32
  // [latent_dim], and after it the rest, rotated by adjacent pairs (element 2i with 2i + 1), as
  // DeepSeek's models do. out = q, rotated the same way; both have rope_dim columns per head.
  // kv and q stay as they are.
  virtual absl::Status RopeAndAppendLatent(const HeadsView& q, MatrixView kv,
                                           const LatentAttentionShape& shape,
                                           const DeviceBuffer& norm_weight, float eps,
                                           KvCache& cache, int64_t layer, const HeadsView& out);
  // Causal attention of the batch's queries over their sequences' cached latents: a score is the
  // product of a query's head with the whole cached vector, a value that vector's first latent_dim
  // elements. q: [num_tokens, num_heads * key_dim()], of every head the part that meets the latent,
  // then the rotated one; out: [num_tokens, num_heads * latent_dim].
  virtual absl::Status LatentAttention(MatrixView q, const LatentAttentionShape& shape,
                                       const KvCache& cache, int64_t layer, MatrixView out);
  // out = f(x); x and out may be the same. REQUIRES: f is not kClampedSwiglu.
  virtual absl::Status Activate(ActivationFunction f, MatrixView x, const Operand& out) = 0;
  // out = f(gate) * up, or kClampedSwiglu of both, where gate_up's rows hold gate, then up.
  virtual absl::Status ActivateGated(ActivationFunction f, MatrixView gate_up,
                                     const Operand& out) = 0;
  // Chooses experts for every token by the router's logits, f32 [tokens, num_experts]. The choice
  // stands until the next one. `bias` is added to the scores that experts are chosen by, f32
  // [num_experts]; null: none. `counts`, f32 [num_experts], grow by how often each expert was
  // chosen for a token of the step; null: nothing is counted.
  //
  // Every token and expert that was chosen for it and is held (ExpertRouting::held) has a row in
  // what follows, by the expert's number; one expert's rows are in the order of tokens. Matrices of
  // such rows have tokens * rows_per_token() of them; those behind the last chosen one are neither
  // read nor written.
  virtual absl::Status RouteExperts(MatrixView logits, const ExpertRouting& routing,
                                    const DeviceBuffer* bias, DeviceBuffer* counts) = 0;
  // out = x W[expert]^T + bias[expert] in every row; W and bias stack those of the experts that are
  // held. `order`: of x's rows. out: [tokens * rows_per_token, out_features of one expert].
  virtual absl::Status ExpertLinear(const LinearWeight& weight, const Operand& x, RowOrder order,
                                    MatrixView out) = 0;
  // ExpertLinear, and of every row whose token's sequence has an adapter: out += (x A^T) B^T, with
  // the row's expert's A and B. Errors: those of ExpertLinear.
  virtual absl::Status AdaptedExpertLinear(const LinearWeight& weight, const LoraWeights& adapters,
                                           const Operand& x, RowOrder order, MatrixView out);
  // ActivateGated, where there is a row.
  virtual absl::Status ActivateExperts(ActivationFunction f, MatrixView gate_up,
                                       const Operand& out) = 0;
  // out[token] = sum over its experts that are held, in the order of their choice, of weight * its
  // row of `rows`, plus the shared expert's.
  virtual absl::Status CombineExperts(MatrixView rows, const SharedExpert& shared,
                                      MatrixView out) = 0;
  // out = x, both of the same shape and type.
  virtual absl::Status Copy(MatrixView x, MatrixView out) = 0;
  // out[i] = x[rows[i]].
  virtual absl::Status GatherRows(MatrixView x, std::span<const int32_t> rows, MatrixView out) = 0;
  // out[token] = x[StepInputs::rows[token]]; rows that pad the step get some row of x. Unlike
  // GatherRows it depends on nothing but the step's arrays.
  virtual absl::Status GatherStepRows(MatrixView x, MatrixView out) = 0;
  // out[s] = the row in x of the last token of sequence s; sequences that pad the step get some
  // row. x: a row per token, out: a row per sequence.
  virtual absl::Status GatherLastRows(MatrixView x, MatrixView out) = 0;
  // out[r][c] = x[r][columns[c]], or -inf where columns[c] < 0: logits of some tokens among all.
  // x, out: f32; columns: f32 [out.cols], whole numbers below 2^24.
  virtual absl::Status GatherColumns(MatrixView x, const DeviceBuffer& columns, MatrixView out) = 0;
  // best[i] = the highest value of x[i] and its column, the first of equal ones; +inf where x[i]
  // holds a NaN, -inf where it has no columns. x: f32 [rows, fewer than 2^24]; best: f32 [rows, 2].
  virtual absl::Status HighestOfRows(MatrixView x, MatrixView best) = 0;

  // logits: f32 [rows, vocab]. See sampling_params.h. A row that is not finite is reported in its
  // result and does not fail the call.
  virtual absl::Status Sample(MatrixView logits, std::span<const SamplingRow> rows,
                              std::span<SampledToken> sampled) = 0;
  virtual absl::Status Logprobs(MatrixView logits, std::span<const LogprobRequest> requests,
                                std::span<SampledToken> results) = 0;
  // records[i] = what sampling_parts.h says of logits[i], the part of row i that begins with
  // `first_token`. logits: f32 [rows, any number of tokens]; records: f32 [rows, layout.cols()],
  // at rows of whole 16 bytes. REQUIRES: every row DrawsFromParts; `layout` has room for all;
  // `first_token` is a multiple of kTokensPerDraw; at most StepLimits::part_rows rows, as
  // NumRowsAtOnce lets them be. Masks, biases and counts are of the whole vocabulary.
  virtual absl::Status SampleParts(MatrixView logits, int64_t first_token,
                                   std::span<const SamplingRow> rows, const PartsLayout& layout,
                                   MatrixView records) = 0;
};

}  // namespace pingti::worker
