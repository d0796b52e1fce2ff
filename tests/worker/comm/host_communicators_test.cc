// Collectives between threads and over TCP against sums in float64 and against each other's bits:
// every dtype, odd shapes, strides, one to eight ranks; ranks that differ; groups that are aborted.
#include <gtest/gtest.h>

#include <atomic>
#include <cmath>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "tests/worker/comm/host_matrix.h"
#include "worker/backend/cpu/cpu_backend.h"
#include "worker/comm/in_process.h"
#include "worker/comm/tcp_communicator.h"

namespace pingti::worker {
namespace {

using testing::HostMatrix;

constexpr int kSeed = 17;
constexpr DType kDTypes[] = {DType::kF32, DType::kBf16, DType::kI32};

enum class Kind { kInProcess, kTcp };

// A group, its backends and a thread for each rank.
class Ranks {
 public:
  Ranks(Kind kind, int size) : group_(size) {
    for (int r = 0; r < size; ++r) {
      backends_.push_back(*MakeCpuBackend({.num_threads = 1, .kernels = ""}));
    }
    comms_.resize(static_cast<size_t>(size));
    if (kind == Kind::kTcp) {
      JoinByTcp();
    } else {
      for (int r = 0; r < size; ++r) {
        comms_[static_cast<size_t>(r)] = group_.MakeCommunicator(r, &backend(r));
      }
    }
  }

  // Runs `body` as every rank; returns when all are done.
  void Run(const std::function<void(Communicator& comm, int rank)>& body) {
    RunThreads([&](int r) { body(comm(r), r); });
  }

  int size() const { return static_cast<int>(comms_.size()); }
  Communicator& comm(int rank) { return *comms_[static_cast<size_t>(rank)]; }
  Backend& backend(int rank) { return *backends_[static_cast<size_t>(rank)]; }

 private:
  void RunThreads(const std::function<void(int rank)>& body) {
    std::vector<std::thread> threads;
    for (int r = 0; r < size(); ++r) threads.emplace_back(body, r);
    for (std::thread& thread : threads) thread.join();
  }

  void JoinByTcp() {
    std::vector<TcpListener> listeners;
    TcpMeshOptions options;
    options.group_id = "a test's";
    for (int r = 0; r < size(); ++r) {
      listeners.push_back(*TcpListener::Open("127.0.0.1"));
      options.addresses.push_back("127.0.0.1:" + std::to_string(listeners.back().port()));
    }
    RunThreads([&](int r) {
      TcpMeshOptions own = options;
      own.rank = r;
      auto mesh = TcpMesh::Join(listeners[static_cast<size_t>(r)], std::move(own));
      ASSERT_TRUE(mesh.ok()) << mesh.status();
      comms_[static_cast<size_t>(r)] = MakeTcpCommunicator(&backend(r), *std::move(mesh));
    });
  }

  InProcessGroup group_;
  std::vector<std::unique_ptr<Backend>> backends_;
  std::vector<std::unique_ptr<Communicator>> comms_;
};

class HostCommunicators : public ::testing::TestWithParam<Kind> {};
INSTANTIATE_TEST_SUITE_P(Each, HostCommunicators, ::testing::Values(Kind::kInProcess, Kind::kTcp),
                         [](const auto& kind) {
                           return kind.param == Kind::kTcp ? "Tcp" : "InProcess";
                         });

struct Shape {
  int64_t rows;
  int64_t cols;
};
constexpr Shape kShapes[] = {{1, 1}, {1, 5}, {3, 7}, {2, 600}, {5, 64}, {0, 8}, {4, 0}};
constexpr int kSizes[] = {1, 2, 3, 4, 8};

// Each rank's own stride: ranks need not agree on it.
std::vector<HostMatrix> RandomMatrices(int size, DType dtype, const Shape& shape,
                                       std::mt19937* rng) {
  std::vector<HostMatrix> matrices;
  for (int r = 0; r < size; ++r) {
    matrices.emplace_back(dtype, shape.rows, shape.cols, shape.cols + r % 3);
    matrices.back().Fill(rng);
  }
  return matrices;
}

// Of a sum of `size` values that are rounded once to `dtype`, relative to the sum of their sizes.
double Tolerance(DType dtype, int size) {
  if (dtype == DType::kI32) return 0.0;
  return dtype == DType::kF32 ? size * 6e-8 : 4e-3 + size * 6e-8;
}

TEST_P(HostCommunicators, AllReduceEqualsTheSumAndAllRanksAgreeBitForBit) {
  std::mt19937 rng(kSeed);
  for (const int size : kSizes) {
    Ranks ranks(GetParam(), size);
    for (const DType dtype : kDTypes) {
      for (const Shape& shape : kShapes) {
        std::vector<HostMatrix> matrices = RandomMatrices(size, dtype, shape, &rng);
        const std::vector<HostMatrix> parts = matrices;
        ranks.Run([&](Communicator& comm, int rank) {
          EXPECT_TRUE(comm.AllReduceSum(matrices[static_cast<size_t>(rank)].view()).ok());
        });
        for (int64_t r = 0; r < shape.rows; ++r) {
          for (int64_t c = 0; c < shape.cols; ++c) {
            double sum = 0.0;
            double magnitude = 0.0;
            for (const HostMatrix& part : parts) {
              sum += part.Get(r, c);
              magnitude += std::abs(part.Get(r, c));
            }
            ASSERT_NEAR(matrices[0].Get(r, c), sum, magnitude * Tolerance(dtype, size))
                << DTypeName(dtype) << " " << size << " ranks, row " << r << " col " << c
                << " seed " << kSeed;
          }
        }
        for (const HostMatrix& matrix : matrices) {
          EXPECT_EQ(matrix.Elements(), matrices[0].Elements());
          EXPECT_TRUE(matrix.GapsAreUntouched());
        }
      }
    }
  }
}

TEST_P(HostCommunicators, SumsAreAddedInRankOrderWhateverTheShape) {
  constexpr int kRanks = 3;
  constexpr int64_t kCols = 700;
  std::mt19937 rng(kSeed);
  Ranks ranks(GetParam(), kRanks);
  std::vector<HostMatrix> matrices = RandomMatrices(kRanks, DType::kF32, {1, kCols}, &rng);
  std::vector<float> expected;
  for (int64_t c = 0; c < kCols; ++c) {
    float sum = 0.0f;
    for (const HostMatrix& matrix : matrices) {
      const auto value = static_cast<float>(matrix.Get(0, c));
      sum = &matrix == &matrices.front() ? value : sum + value;
    }
    expected.push_back(sum);
  }
  ASSERT_TRUE(ranks.comm(0).promises().adds_in_rank_order);
  ranks.Run([&](Communicator& comm, int rank) {
    EXPECT_TRUE(comm.AllReduceSum(matrices[static_cast<size_t>(rank)].view()).ok());
  });
  for (int64_t c = 0; c < kCols; ++c) {
    ASSERT_EQ(static_cast<float>(matrices[1].Get(0, c)), expected[static_cast<size_t>(c)]);
  }
}

TEST_P(HostCommunicators, IntegerSumsWrapAround) {
  Ranks ranks(GetParam(), 2);
  std::vector<HostMatrix> own;
  for (const double value : {2147483647.0, 1.0}) {
    own.emplace_back(DType::kI32, 1, 1, 1);
    own.back().Set(0, 0, value);
  }
  ranks.Run([&](Communicator& comm, int rank) {
    EXPECT_TRUE(comm.AllReduceSum(own[static_cast<size_t>(rank)].view()).ok());
  });
  EXPECT_EQ(own[0].Get(0, 0), -2147483648.0);
  EXPECT_EQ(own[1].Get(0, 0), -2147483648.0);
}

TEST_P(HostCommunicators, AllGatherGivesEachRanksColumnsToAll) {
  std::mt19937 rng(kSeed);
  for (const int size : kSizes) {
    Ranks ranks(GetParam(), size);
    for (const DType dtype : kDTypes) {
      for (const Shape& shape : kShapes) {
        std::vector<HostMatrix> matrices =
            RandomMatrices(size, dtype, {shape.rows, size * shape.cols}, &rng);
        const std::vector<HostMatrix> parts = matrices;
        ranks.Run([&](Communicator& comm, int rank) {
          EXPECT_TRUE(comm.AllGather(matrices[static_cast<size_t>(rank)].view()).ok());
        });
        for (int64_t row = 0; row < shape.rows; ++row) {
          for (int64_t c = 0; c < size * shape.cols; ++c) {
            const HostMatrix& owner = parts[static_cast<size_t>(c / shape.cols)];
            ASSERT_EQ(matrices[0].Get(row, c), owner.Get(row, c)) << DTypeName(dtype);
          }
        }
        for (const HostMatrix& matrix : matrices) {
          EXPECT_EQ(matrix.Elements(), matrices[0].Elements());
          EXPECT_TRUE(matrix.GapsAreUntouched());
        }
      }
    }
  }
}

TEST_P(HostCommunicators, BroadcastGivesTheRootsMatrix) {
  std::mt19937 rng(kSeed);
  for (const int size : kSizes) {
    Ranks ranks(GetParam(), size);
    for (const DType dtype : kDTypes) {
      for (int root = 0; root < size; ++root) {
        std::vector<HostMatrix> matrices = RandomMatrices(size, dtype, {3, 9}, &rng);
        const std::vector<std::byte> expected = matrices[static_cast<size_t>(root)].Elements();
        ranks.Run([&](Communicator& comm, int rank) {
          EXPECT_TRUE(comm.Broadcast(matrices[static_cast<size_t>(rank)].view(), root).ok());
        });
        for (const HostMatrix& matrix : matrices) {
          EXPECT_EQ(matrix.Elements(), expected);
          EXPECT_TRUE(matrix.GapsAreUntouched());
        }
      }
    }
  }
}

TEST_P(HostCommunicators, AReducedAddAndNormEqualsItsParts) {
  std::mt19937 rng(kSeed);
  constexpr int64_t kRows = 3;
  constexpr int64_t kCols = 40;
  for (const int size : kSizes) {
    Ranks ranks(GetParam(), size);
    std::vector<float> weights(kCols);
    for (float& weight : weights) weight = 0.5f + static_cast<float>(rng() % 100) / 100.0f;
    std::vector<HostMatrix> deltas = RandomMatrices(size, DType::kF32, {kRows, kCols}, &rng);
    const std::vector<HostMatrix> parts = deltas;
    HostMatrix start(DType::kF32, kRows, kCols, kCols);
    start.Fill(&rng);
    std::vector<HostMatrix> residuals, outs;
    for (int r = 0; r < size; ++r) {
      residuals.emplace_back(DType::kF32, kRows, kCols, kCols);
      outs.emplace_back(DType::kF32, kRows, kCols, kCols);
      for (int64_t i = 0; i < kRows * kCols; ++i) {
        residuals.back().Set(i / kCols, i % kCols, start.Get(i / kCols, i % kCols));
      }
    }
    ranks.Run([&](Communicator& comm, int rank) {
      const auto r = static_cast<size_t>(rank);
      const auto weight = *ranks.backend(rank).UploadF32(weights);
      EXPECT_TRUE(comm.AllReduceAddRmsNorm(deltas[r].view(), residuals[r].view(), *weight, 1e-5f,
                                           outs[r].view())
                      .ok());
    });
    for (int64_t row = 0; row < kRows; ++row) {
      std::vector<double> expected;
      double squares = 0.0;
      for (int64_t c = 0; c < kCols; ++c) {
        double value = start.Get(row, c);
        for (const HostMatrix& part : parts) value += part.Get(row, c);
        expected.push_back(value);
        squares += value * value;
        ASSERT_NEAR(residuals[0].Get(row, c), value, 1e-6 * (size + 1) * 4000);
      }
      const double scale = 1.0 / std::sqrt(squares / kCols + 1e-5);
      for (int64_t c = 0; c < kCols; ++c) {
        ASSERT_NEAR(outs[0].Get(row, c),
                    expected[static_cast<size_t>(c)] * scale * weights[static_cast<size_t>(c)],
                    1e-4);
      }
    }
    for (int r = 1; r < size; ++r) {
      EXPECT_EQ(residuals[static_cast<size_t>(r)].bytes(), residuals[0].bytes());
      EXPECT_EQ(outs[static_cast<size_t>(r)].bytes(), outs[0].bytes());
    }
  }
}

TEST_P(HostCommunicators, ManyOperationsInARowKeepTheirOrder) {
  constexpr int kRanks = 4;
  Ranks ranks(GetParam(), kRanks);
  std::vector<HostMatrix> matrices;
  for (int r = 0; r < kRanks; ++r) {
    matrices.emplace_back(DType::kF32, 1, 6, 6);
    for (int64_t c = 0; c < 6; ++c) matrices.back().Set(0, c, r + 1);
  }
  ranks.Run([&](Communicator& comm, int rank) {
    HostMatrix& own = matrices[static_cast<size_t>(rank)];
    for (int round = 0; round < 200; ++round) {
      ASSERT_TRUE(comm.AllReduceSum(own.view()).ok());
      for (int64_t c = 0; c < 6; ++c) own.Set(0, c, own.Get(0, c) / kRanks);
      ASSERT_TRUE(comm.Broadcast(own.view(), round % kRanks).ok());
    }
  });
  for (const HostMatrix& matrix : matrices) EXPECT_EQ(matrix.Get(0, 3), 2.5);
}

// What rank 1 does differently from the others, and what all are told.
struct Difference {
  const char* name;
  std::function<absl::Status(Communicator&, HostMatrix&)> others;
  std::function<absl::Status(Communicator&, HostMatrix&)> rank_1;
  std::string message;
};

TEST_P(HostCommunicators, RanksThatDifferAllGetTheErrorAndWorkOn) {
  const auto reduce = [](Communicator& comm, HostMatrix& matrix) {
    return comm.AllReduceSum(matrix.view());
  };
  const auto with = [](MatrixView view) {
    return [view](Communicator& comm, HostMatrix& matrix) {
      MatrixView changed = view;
      changed.data = matrix.view().data;
      return comm.AllReduceSum(changed);
    };
  };
  const auto broadcast = [](int root) {
    return [root](Communicator& comm, HostMatrix& matrix) {
      return comm.Broadcast(matrix.view(), root);
    };
  };
  const auto gather = [](Communicator& comm, HostMatrix& matrix) {
    return comm.AllGather(matrix.view().Columns(0, 5));
  };
  const Difference differences[] = {
      {"cols", reduce, with({nullptr, DType::kF32, 2, 5, 6}),
       "rank 1: all-reduce of F32 [2, 5]; expected, as on rank 0, all-reduce of F32 [2, 6]"},
      {"rows", reduce, with({nullptr, DType::kF32, 1, 6, 6}), "F32 [1, 6]"},
      {"dtype", reduce, with({nullptr, DType::kBf16, 2, 6, 6}), "BF16 [2, 6]"},
      {"no sums of it", reduce, with({nullptr, DType::kI8, 2, 6, 6}), "expected F32, BF16 or I32"},
      {"stride", reduce, with({nullptr, DType::kF32, 2, 6, 5}), "a stride of at least"},
      {"operation", reduce, broadcast(0), "rank 1: broadcast of F32 [2, 6] from rank 0"},
      {"root", broadcast(0), broadcast(2), "from rank 2; expected, as on rank 0"},
      {"no such root", broadcast(0), broadcast(3), "expected a root from 0 to 2"},
      {"columns", gather, gather, "of F32 [2, 5]; expected columns that"},
  };
  for (const int size : {2, 3}) {
    Ranks ranks(GetParam(), size);
    for (const Difference& difference : differences) {
      if (size == 2 && std::string(difference.name).find("root") != std::string::npos) continue;
      std::vector<absl::Status> statuses(static_cast<size_t>(size));
      std::vector<HostMatrix> matrices;
      for (int r = 0; r < size; ++r) {
        matrices.emplace_back(DType::kF32, 2, 6, 6);
        for (int64_t i = 0; i < 12; ++i) matrices.back().Set(i / 6, i % 6, 1.0);
      }
      ranks.Run([&](Communicator& comm, int rank) {
        const auto r = static_cast<size_t>(rank);
        statuses[r] =
            rank == 1 ? difference.rank_1(comm, matrices[r]) : difference.others(comm, matrices[r]);
        EXPECT_TRUE(comm.AllReduceSum(matrices[r].view()).ok()) << difference.name;
      });
      for (int r = 0; r < size; ++r) {
        const absl::Status& status = statuses[static_cast<size_t>(r)];
        EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << difference.name;
        EXPECT_EQ(status, statuses[0]) << difference.name;
        EXPECT_NE(std::string(status.message()).find(difference.message), std::string::npos)
            << difference.name << ": " << status;
        // The refused operation left the matrices alone.
        EXPECT_EQ(matrices[static_cast<size_t>(r)].Get(1, 4), size) << difference.name;
      }
    }
  }
}

TEST_P(HostCommunicators, AbortReleasesRanksThatWait) {
  constexpr int kRanks = 4;
  Ranks ranks(GetParam(), kRanks);
  std::atomic<int> aborted{0};
  std::vector<HostMatrix> matrices;
  for (int r = 0; r < kRanks; ++r) matrices.emplace_back(DType::kF32, 1, 1, 1);
  ranks.Run([&](Communicator& comm, int rank) {
    EXPECT_TRUE(comm.Check().ok() || comm.Check().code() == absl::StatusCode::kAborted);
    if (rank == 3) return comm.Abort();  // never joins
    const MatrixView matrix = matrices[static_cast<size_t>(rank)].view();
    if (comm.AllReduceSum(matrix).code() == absl::StatusCode::kAborted) ++aborted;
    EXPECT_EQ(comm.Broadcast(matrix, 0).code(), absl::StatusCode::kAborted);
    EXPECT_EQ(comm.Check().code(), absl::StatusCode::kAborted);
  });
  EXPECT_EQ(aborted, kRanks - 1);
}

TEST(InProcess, TheGroupsAbortReleasesItsRanks) {
  InProcessGroup group(2);
  const auto backend = *MakeCpuBackend({.num_threads = 1, .kernels = ""});
  const auto comm = group.MakeCommunicator(0, backend.get());
  HostMatrix matrix(DType::kF32, 1, 1, 1);
  std::thread other([&] { group.Abort(); });
  EXPECT_EQ(comm->AllReduceSum(matrix.view()).code(), absl::StatusCode::kAborted);
  other.join();
}

TEST(SingleRankTest, EveryOperationIsItsOwnMatrix) {
  const auto backend = *MakeCpuBackend({.num_threads = 1, .kernels = ""});
  SingleRankCommunicator comm(backend.get());
  std::mt19937 rng(kSeed);
  HostMatrix matrix(DType::kF32, 2, 3, 4);
  matrix.Fill(&rng);
  const std::vector<std::byte> before = matrix.bytes();
  EXPECT_TRUE(comm.AllReduceSum(matrix.view()).ok());
  EXPECT_TRUE(comm.Broadcast(matrix.view(), 0).ok());
  EXPECT_TRUE(comm.AllGather(matrix.view()).ok());
  EXPECT_EQ(matrix.bytes(), before);
}

}  // namespace
}  // namespace pingti::worker
