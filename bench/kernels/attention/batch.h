// The batch that a bench of paged attention is asked for: its sequences' lengths, and pages for
// them in the order that a pool gets after a while.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "tests/kernels/testing/compare.h"

namespace pingti::kernels::bench {

// The lengths of COUNTxTOKENS terms joined by '+': 32x4096, or 1x131072+31x4096. Ends the program
// if `text` is something else.
inline std::vector<int> ParseBatch(const std::string& text) {
  std::vector<int> lens;
  const char* at = text.c_str();
  while (true) {
    char* end = nullptr;
    const long count = std::strtol(at, &end, 10);
    const long len = *end == 'x' ? std::strtol(end + 1, &end, 10) : 0;
    if (count <= 0 || len <= 0 || (*end != '\0' && *end != '+')) {
      std::printf("batch '%s': expected COUNTxTOKENS terms joined by '+'\n", text.c_str());
      std::exit(2);
    }
    lens.insert(lens.end(), count, static_cast<int>(len));
    if (*end == '\0') return lens;
    at = end + 1;
  }
}

struct BatchPages {
  int num_pages = 0;           // of one set
  int table_stride = 0;        // pages of the longest sequence
  std::vector<int32_t> table;  // [sets, sequences, table_stride], each page once, shuffled
};

// Pages of `page` tokens for `sets` batches of these lengths.
inline BatchPages ShuffledPages(const std::vector<int>& lens, int page, int sets) {
  BatchPages pages;
  for (int len : lens) {
    const int count = (len + page - 1) / page;
    pages.table_stride = std::max(pages.table_stride, count);
    pages.num_pages += count;
  }
  std::vector<int32_t> order(static_cast<size_t>(pages.num_pages) * sets);
  std::iota(order.begin(), order.end(), 0);
  testing::Random random(4);
  for (size_t i = order.size(); i-- > 1;) {
    std::swap(order[i], order[random.Below(static_cast<uint32_t>(i) + 1)]);
  }
  pages.table.resize(sets * lens.size() * pages.table_stride);
  size_t next = 0;
  for (size_t s = 0; s < sets * lens.size(); ++s) {
    for (int i = 0; i * page < lens[s % lens.size()]; ++i) {
      pages.table[s * pages.table_stride + i] = order[next++];
    }
  }
  return pages;
}

}  // namespace pingti::kernels::bench
