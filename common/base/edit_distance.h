// "Did you mean": the nearest known name to one that is not known.
#pragma once

#include <cstddef>
#include <optional>
#include <string_view>
#include <vector>

namespace pingti {

// Optimal string alignment distance: insertions, deletions, substitutions and swaps of neighbours
// cost 1. O(|a| * |b|).
size_t EditDistance(std::string_view a, std::string_view b);

// The candidate with the smallest distance to `name` (the first of equals), or nothing when even
// that one is too far off to be what was meant (more than a third of the longer name, at least 2).
std::optional<std::string_view> NearestName(std::string_view name,
                                            const std::vector<std::string_view>& candidates);

}  // namespace pingti
