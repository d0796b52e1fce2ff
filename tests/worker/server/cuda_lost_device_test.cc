// A device that is lost while a worker serves: a kernel with a bad address, through model, engine
// and server to what routers and probes see. One test, since the process's device is lost with it;
// main is in tests/worker/backend/cuda/cuda_device.cc.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/base/mutex.h"
#include "common/net/http_client.h"
#include "tests/testing/forwarding_model.h"
#include "tests/testing/source_dir.h"
#include "tests/worker/backend/cuda/bad_address.h"
#include "tests/worker/backend/device_under_test.h"
#include "tests/worker/server/session_client.h"
#include "worker/model/load_model.h"
#include "worker/model/open_checkpoint.h"
#include "worker/server/admin_page.h"
#include "worker/server/model_card.h"
#include "worker/server/worker_server.h"
#include "worker/weights/checkpoint.h"

namespace pingti::worker {
namespace {

using ::testing::HasSubstr;

constexpr int kBadForward = 12;  // the first is the server's own, before it is ready

// A model one of whose forward passes also runs a kernel with a bad address.
class PoisonedModel : public testing::ForwardingModel {
 public:
  PoisonedModel(Model* model, Backend* backend, const DeviceBuffer* weight)
      : ForwardingModel(model), backend_(backend), weight_(weight) {}

  absl::Status Forward(const ForwardBatch& batch, std::span<const BlockCopy> copies) override {
    if (++num_forwards_ == kBadForward) testing::BadAddress(backend_, *weight_);
    return ForwardingModel::Forward(batch, copies);
  }

 private:
  Backend* const backend_;
  const DeviceBuffer* const weight_;
  int num_forwards_ = 0;
};

// What the server said when it was broken; tests wait for it.
struct Broken {
  Mutex mutex;
  CondVar changed;
  std::optional<absl::Status> status PINGTI_GUARDED_BY(mutex);

  absl::Status Await() {
    const auto deadline = std::chrono::steady_clock::now() + kPatience;
    MutexLock lock(&mutex);
    while (!status && changed.WaitUntil(&mutex, deadline)) {
    }
    return status.value_or(absl::OkStatus());
  }
};

WorkerServerOptions OptionsFor(Broken* broken) {
  WorkerServerOptions options;
  options.engine.budget = {64, 8};
  options.engine.num_kv_blocks = 128;
  options.engine.kv_block_tokens = 16;
  options.on_broken = [broken](const absl::Status& status) {
    MutexLock lock(&broken->mutex);
    broken->status = status;
    broken->changed.NotifyAll();
  };
  return options;
}

int Probe(const AdminPage& admin, const std::string& path) {
  net::HttpClient client;
  const auto response = client.Send({.method = "GET",
                                     .url = Concat("http://127.0.0.1:", admin.port(), path),
                                     .headers = {},
                                     .body = ""});
  return response.ok() ? response->status : 0;
}

TEST(LostDevice, TurnsTheServerRedAndGivesSequencesBack) {
  const auto device = testing::MakeDeviceUnderTest();
  const auto checkpoint = OpenCheckpoint(SourcePath("tests/golden/model/tiny/llama3_d64"));
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  const auto model = LoadModel(**checkpoint, device->backend(), {});
  ASSERT_TRUE(model.ok()) << model.status();
  const auto weight = device->backend()->UploadF32(std::vector<float>(64, 1.0f));
  ASSERT_TRUE(weight.ok()) << weight.status();
  PoisonedModel poisoned(model->get(), device->backend(), weight->get());
  Broken broken;
  const WorkerServerOptions options = OptionsFor(&broken);
  ASSERT_TRUE(poisoned.Allocate(128, 16, 64, 8).ok());
  ServedCard card;
  card.card.set_max_context_tokens(256);
  metrics::Registry registry;
  const auto admin = AdminPage::Start({}, &registry);
  ASSERT_TRUE(admin.ok()) << admin.status();
  const auto server =
      WorkerServer::Start(&poisoned, card, RealClock(), &registry, admin->get(), options);
  ASSERT_TRUE(server.ok()) << server.status();
  EXPECT_EQ(Probe(**admin, "/healthz"), 200);

  Client client((*server)->port());
  client.Hello();
  for (uint64_t id = 1; id <= 12; ++id) client.Submit(id, {3, 4, 5}, 100);
  ASSERT_TRUE(client.ReadUntilFinished(12)) << "the session ended without an answer to each";
  for (const auto& [id, finish] : client.finishes_) {
    EXPECT_EQ(finish.reason(), v1::Finish::REASON_PREEMPTED) << id;
    EXPECT_THAT(finish.message(), HasSubstr("CUDA error cudaErrorIllegalAddress"));
  }
  EXPECT_FALSE(client.tokens_[1].empty()) << "tokens from before the loss are kept";
  const absl::Status status = broken.Await();
  EXPECT_TRUE(IsDeviceLost(status)) << status;
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("the device is unusable until the process restarts"));
  EXPECT_EQ(Probe(**admin, "/healthz"), 503);
  EXPECT_EQ(Probe(**admin, "/readyz"), 503);
}

}  // namespace
}  // namespace pingti::worker
