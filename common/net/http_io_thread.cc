// The event loop of one thread. Everything that touches its sessions is posted to it.
#include "common/net/http_io_thread.h"

#include <algorithm>
#include <boost/asio/post.hpp>
#include <utility>

#include "common/base/check.h"
#include "common/net/http_session.h"

namespace pingti::net {
namespace {

constexpr std::chrono::milliseconds kTurnInterval{100};

}  // namespace

void ConnectionCount::Add() {
  MutexLock lock(&mutex_);
  ++count_;
}

void ConnectionCount::Remove() {
  MutexLock lock(&mutex_);
  PINGTI_CHECK(count_ > 0);
  if (--count_ == 0) none_.NotifyAll();
}

size_t ConnectionCount::Get() const {
  MutexLock lock(&mutex_);
  return count_;
}

bool ConnectionCount::WaitForNone(std::chrono::steady_clock::time_point deadline) {
  MutexLock lock(&mutex_);
  while (count_ > 0) {
    if (!none_.WaitUntil(&mutex_, deadline)) break;
  }
  return count_ == 0;
}

HttpIoThread::HttpIoThread(HttpServerState* state)
    : state_(state), work_(boost::asio::make_work_guard(context_)), turn_timer_(context_) {}

HttpIoThread::~HttpIoThread() { Stop(); }

void HttpIoThread::Start() {
  Turn();
  thread_ = std::thread([this] { context_.run(); });
}

void HttpIoThread::Turn() {
  last_turn_.store(std::chrono::steady_clock::now().time_since_epoch().count(),
                   std::memory_order_relaxed);
  turn_timer_.expires_after(kTurnInterval);
  turn_timer_.async_wait([this](const boost::system::error_code& error) {
    if (!error) Turn();
  });
}

void HttpIoThread::Stop() {
  if (!thread_.joinable()) return;
  boost::asio::post(context_, [this] {
    const std::vector<std::shared_ptr<HttpSession>> sessions(sessions_.begin(), sessions_.end());
    for (const auto& session : sessions) session->Close();
    context_.stop();
  });
  thread_.join();
}

void HttpIoThread::Adopt(boost::asio::ip::tcp::socket socket, bool reject) {
  state_->connections.Add();
  boost::asio::post(context_, [this, reject, socket = std::move(socket)]() mutable {
    auto session = std::make_shared<HttpSession>(std::move(socket), this);
    sessions_.insert(session);
    if (reject) {
      session->Reject();
    } else {
      session->Start();
    }
  });
}

void HttpIoThread::Drain() {
  boost::asio::post(context_, [this] {
    const std::vector<std::shared_ptr<HttpSession>> sessions(sessions_.begin(), sessions_.end());
    for (const auto& session : sessions) session->OnDrain();
  });
}

void HttpIoThread::RequestFlush(HttpSession* session) {
  {
    MutexLock lock(&mutex_);
    to_flush_.push_back(session);
    if (to_flush_.size() > 1) return;  // the first has posted
  }
  boost::asio::post(context_, [this] { FlushRequested(); });
}

void HttpIoThread::FlushRequested() {
  {
    MutexLock lock(&mutex_);
    flushing_.swap(to_flush_);
  }
  for (HttpSession* const session : flushing_) {
    if (session == nullptr) continue;
    const std::shared_ptr<HttpSession> alive = session->shared_from_this();
    session->Flush();
  }
  flushing_.clear();
}

void HttpIoThread::Forget(const std::shared_ptr<HttpSession>& session) {
  PINGTI_CHECK(sessions_.erase(session) == 1);
  std::replace(flushing_.begin(), flushing_.end(), session.get(),
               static_cast<HttpSession*>(nullptr));
  {
    MutexLock lock(&mutex_);
    std::erase(to_flush_, session.get());
  }
  state_->connections.Remove();
}

}  // namespace pingti::net
