// How many processors this process may use: those it may run on, or fewer where a control group
// limits its time (a container's CPU limit). Threads beyond that only wait for their share.
#pragma once

#include <string>

namespace pingti {

// At least 1. A limit of a part of a processor counts as a whole one.
int AvailableProcessors();

// The processors that the control groups below `root` ("/sys/fs/cgroup") leave to the group `path`
// ("/kubepods/pod1"), the least of it and its parents; 0: there is no limit. Version 2 has one file
// cpu.max ("QUOTA PERIOD" in microseconds, or "max PERIOD"); version 1 cpu.cfs_quota_us and
// cpu.cfs_period_us.
double ProcessorLimit(const std::string& root, std::string path);

}  // namespace pingti
