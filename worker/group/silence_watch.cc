#include "worker/group/silence_watch.h"

#include <utility>

namespace pingti::worker {

using std::chrono::milliseconds;
using SteadyClock = std::chrono::steady_clock;

GroupPatience PatienceFor(milliseconds timeout) { return {timeout / 8, timeout * 3 / 4}; }

SilenceWatch::SilenceWatch(const GroupPatience& patience,
                           std::function<void(milliseconds)> on_silence)
    : patience_(patience), on_silence_(std::move(on_silence)), thread_([this] { Watch(); }) {}

SilenceWatch::~SilenceWatch() {
  {
    MutexLock lock(&mutex_);
    stopping_ = true;
    ended_.NotifyAll();
  }
  thread_.join();
}

void SilenceWatch::Heard() {
  MutexLock lock(&mutex_);
  heard_ = true;
}

void SilenceWatch::Watch() {
  // Short rounds, so that the silence is noticed soon after its end.
  const milliseconds round = patience_.silence / 10;
  milliseconds silent{0};
  while (silent < patience_.silence) {
    const SteadyClock::time_point begin = SteadyClock::now();
    MutexLock lock(&mutex_);
    while (!stopping_ && ended_.WaitUntil(&mutex_, begin + round)) {
    }
    if (stopping_) return;
    const auto took = std::chrono::duration_cast<milliseconds>(SteadyClock::now() - begin);
    const bool stood_still = took > 3 * round;
    silent = heard_ || stood_still ? milliseconds(0) : silent + took;
    heard_ = false;
  }
  on_silence_(silent);
}

SignsOfLife::SignsOfLife(milliseconds interval, std::function<bool()> sign)
    : interval_(interval), sign_(std::move(sign)), thread_([this] { Run(); }) {}

SignsOfLife::~SignsOfLife() {
  {
    MutexLock lock(&mutex_);
    stopping_ = true;
    ended_.NotifyAll();
  }
  thread_.join();
}

void SignsOfLife::Run() {
  while (sign_()) {
    const SteadyClock::time_point next = SteadyClock::now() + interval_;
    MutexLock lock(&mutex_);
    while (!stopping_ && ended_.WaitUntil(&mutex_, next)) {
    }
    if (stopping_) return;
  }
}

}  // namespace pingti::worker
