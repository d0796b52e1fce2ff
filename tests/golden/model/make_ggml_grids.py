#!/usr/bin/env python3
"""The grids of GGUF's IQ types as pingti packs them, from the numbers of the gguf package.

    python make_ggml_grids.py > ../../../worker/quant/ggml_grids.cc      (gguf 0.19.0, numpy)

A grid is part of the format, as a code book is: an index stands for 8 (or 4) values. Each value is
one of 3 (or 8) magnitudes and takes 2 (or 3) bits here, the first value in the lowest.
"""
import gguf.quants as q

GRIDS = [("kIq2XxsGrid", q.IQ2_XXS, 2), ("kIq2XsGrid", q.IQ2_XS, 2), ("kIq2SGrid", q.IQ2_S, 2),
         ("kIq3XxsGrid", q.IQ3_XXS, 3), ("kIq3SGrid", q.IQ3_S, 3), ("kIq1Grid", q.IQ1_S, 2)]


def main():
    print("// Made by tests/golden/model/make_ggml_grids.py. See ggml_grids.h.")
    print('#include "worker/quant/ggml_grids.h"\n\nnamespace pingti::worker {\n')
    print("// clang-format off")
    for name, kind, bits in GRIDS:
        kind.init_grid()
        rows = kind.grid.reshape(kind.grid_shape)
        places = {value: i for i, value in enumerate(kind.grid_map)}
        words = [sum(places[int(v)] << (bits * i) for i, v in enumerate(row)) for row in rows]
        print(f"const uint16_t {name}[{len(words)}] = {{")
        for i in range(0, len(words), 13):
            print("  " + " ".join(f"{w}," for w in words[i:i + 13]))
        print("};")
    print("// clang-format on\n\n}  // namespace pingti::worker")


if __name__ == "__main__":
    main()
