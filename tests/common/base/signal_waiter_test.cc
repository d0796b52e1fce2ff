// Each case runs in a child process, because signals and their masks belong to the process.
#include "common/base/signal_waiter.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <functional>
#include <thread>

namespace pingti {
namespace {

// Whatever the tests' own process was told to ignore or to block.
void TakeSignalsAsUsual() {
  for (const int number : {SIGTERM, SIGINT, SIGHUP, SIGALRM}) signal(number, SIG_DFL);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
}

// The status `body` exits with; it runs in a child with no other thread.
int ExitStatusOf(const std::function<int()>& body) {
  const pid_t child = fork();
  if (child == 0) {
    TakeSignalsAsUsual();
    alarm(60);  // SIGALRM ends a child that hangs
    _exit(body());
  }
  int status = 0;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status)) << "ended by signal " << WTERMSIG(status);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

TEST(SignalWaiterTest, TermWakesTheWaiter) {
  EXPECT_EQ(ExitStatusOf([] {
              SignalWaiter waiter;
              kill(getpid(), SIGTERM);
              waiter.Wait();
              return waiter.signal() == SIGTERM ? 7 : 1;
            }),
            7);
}

TEST(SignalWaiterTest, InterruptWorksEvenWhenItWasIgnored) {
  EXPECT_EQ(ExitStatusOf([] {
              signal(SIGINT, SIG_IGN);  // as shells do for background jobs
              SignalWaiter waiter;
              kill(getpid(), SIGINT);
              waiter.Wait();
              return waiter.signal() == SIGINT ? 7 : 1;
            }),
            7);
}

TEST(SignalWaiterTest, ASignalAmongOtherThreadsReachesTheWaiter) {
  EXPECT_EQ(ExitStatusOf([] {
              SignalWaiter waiter;
              std::thread other([&] {
                kill(getpid(), SIGTERM);
                waiter.Wait();
              });
              waiter.Wait();
              other.join();
              return 7;
            }),
            7);
}

TEST(SignalWaiterTest, TheSecondSignalEndsTheProcessAtOnce) {
  EXPECT_EQ(ExitStatusOf([] {
              SignalWaiter waiter;
              kill(getpid(), SIGTERM);
              waiter.Wait();
              kill(getpid(), SIGINT);
              while (true) pause();
              return 1;
            }),
            128 + SIGINT);
}

TEST(SignalWaiterTest, AHandlerIsCalledWhileNobodyWaits) {
  EXPECT_EQ(ExitStatusOf([] {
              SignalWaiter waiter;
              waiter.OnSignal([] { _exit(7); });
              kill(getpid(), SIGTERM);
              while (true) pause();
              return 1;
            }),
            7);
}

TEST(SignalWaiterTest, AHandlerThatComesLateIsCalledAtOnceAndOneTakenAwayIsNot) {
  EXPECT_EQ(ExitStatusOf([] {
              SignalWaiter waiter;
              waiter.OnSignal([] { _exit(1); });
              waiter.OnSignal(nullptr);
              kill(getpid(), SIGTERM);
              waiter.Wait();
              waiter.OnSignal([] { _exit(7); });
              return 2;
            }),
            7);
}

TEST(SignalWaiterTest, ShutdownWakesWithoutASignal) {
  EXPECT_EQ(ExitStatusOf([] {
              SignalWaiter waiter;
              std::thread other([&] { waiter.Shutdown(); });
              waiter.Wait();
              other.join();
              return waiter.signal().has_value() ? 1 : 7;
            }),
            7);
}

TEST(SignalWaiterTest, ItsEndRestoresTheDefaultAction) {
  const pid_t child = fork();
  if (child == 0) {
    TakeSignalsAsUsual();
    { SignalWaiter waiter; }
    kill(getpid(), SIGTERM);
    alarm(60);
    while (true) pause();
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
}

TEST(SignalWaiterTest, AHangupIsCountedWhereItIsAskedFor) {
  EXPECT_EQ(ExitStatusOf([] {
              SignalWaiter waiter(SignalWaiter::Hangup::kIsCounted);
              if (waiter.TakeHangup()) return 1;
              kill(getpid(), SIGHUP);
              while (!waiter.TakeHangup()) std::this_thread::yield();
              if (waiter.TakeHangup()) return 2;
              kill(getpid(), SIGTERM);
              waiter.Wait();
              return waiter.signal() == SIGTERM ? 7 : 3;
            }),
            7);
}

}  // namespace
}  // namespace pingti
