// A bound on memory that several owners share: who wants to keep bytes takes them from the budget
// first, and gives them back with the bytes. Thread-safe.
#pragma once

#include <atomic>
#include <cstddef>
#include <utility>

namespace pingti {

class MemoryBudget {
 public:
  // What was taken from a budget, which must outlive it; its end gives it back. Movable. Not
  // thread-safe itself.
  class Lease {
   public:
    Lease() = default;
    explicit Lease(MemoryBudget* budget) : budget_(budget) {}
    Lease(Lease&& other) noexcept
        : budget_(other.budget_), bytes_(std::exchange(other.bytes_, 0)) {}
    Lease& operator=(Lease&& other) noexcept {
      if (this != &other) {
        Release();
        budget_ = other.budget_;
        bytes_ = std::exchange(other.bytes_, 0);
      }
      return *this;
    }
    ~Lease() { Release(); }

    // Takes what is missing to `bytes` in all. False, and nothing changes, when the budget has not
    // that much left. A lease of no budget grows without limit.
    bool GrowTo(size_t bytes) {
      if (bytes <= bytes_) return true;
      if (budget_ != nullptr && !budget_->Take(bytes - bytes_)) return false;
      bytes_ = bytes;
      return true;
    }
    void Release() {
      if (budget_ != nullptr) budget_->Give(bytes_);
      bytes_ = 0;
    }
    size_t bytes() const { return bytes_; }

   private:
    MemoryBudget* budget_ = nullptr;
    size_t bytes_ = 0;
  };

  explicit MemoryBudget(size_t limit) : limit_(limit) {}
  MemoryBudget(const MemoryBudget&) = delete;
  MemoryBudget& operator=(const MemoryBudget&) = delete;

  size_t limit() const { return limit_; }
  size_t used() const { return used_.load(std::memory_order_relaxed); }

  // The most that was used at once since the last call.
  size_t TakePeak() { return peak_.exchange(used(), std::memory_order_relaxed); }

  // False, and nothing is taken, when fewer than `bytes` are left.
  bool Take(size_t bytes) {
    size_t used = used_.load(std::memory_order_relaxed);
    do {
      if (bytes > limit_ - used) return false;
    } while (!used_.compare_exchange_weak(used, used + bytes, std::memory_order_relaxed));
    size_t peak = peak_.load(std::memory_order_relaxed);
    while (peak < used + bytes &&
           !peak_.compare_exchange_weak(peak, used + bytes, std::memory_order_relaxed)) {
    }
    return true;
  }
  void Give(size_t bytes) { used_.fetch_sub(bytes, std::memory_order_relaxed); }

 private:
  const size_t limit_;
  std::atomic<size_t> used_{0};
  std::atomic<size_t> peak_{0};
};

}  // namespace pingti
