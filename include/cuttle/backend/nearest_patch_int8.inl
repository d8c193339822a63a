// The kernels of nearest_patch on bytes, for one instruction set; cpu_nearest_patch.hpp has the formulas, the layouts
// and the proof.

// best[r*16 + c%16] = max(itself, w(r, c)) for the 12 queries and the 2*lanes columns c of one panel from `first` on,
// where w(r, c) = start[c] + sum_i queries[i/4*48 + r*4 + i%4] * panel[i/4*128 + c*4 + i%4] over 4*fours places i.
template <int first>
CUTTLE_TARGET inline void int8_columns(const std::uint8_t* panel, const std::int32_t* start, const std::int8_t* queries,
                                       std::int64_t fours, std::int32_t* best) {
  constexpr std::size_t R = tile_queries;
  vi left[R], right[R];
  CUTTLE_UNROLL
  for (std::size_t r = 0; r < R; ++r) {
    left[r] = load_int(start + first);
    right[r] = load_int(start + first + lanes);
  }
  for (std::int64_t i = 0; i < fours; ++i) {
    const std::uint8_t* place = panel + (i * panel_columns + first) * 4;
    const vi y_left = load_int(place), y_right = load_int(place + lanes * 4);
    CUTTLE_UNROLL
    for (std::size_t r = 0; r < R; ++r) {
      std::int32_t four;
      __builtin_memcpy(&four, queries + (i * tile_queries + static_cast<std::int64_t>(r)) * 4, 4);
      const vi x = set1_int(four);
      left[r] = byte_products(y_left, x, left[r]);
      right[r] = byte_products(y_right, x, right[r]);
    }
  }
  CUTTLE_UNROLL
  for (std::size_t r = 0; r < R; ++r) {
    std::int32_t* place = best + static_cast<std::int64_t>(r) * block_lanes + first % block_lanes;
    store_int(place, vmax_int(load_int(place), left[r]));
    place = best + static_cast<std::int64_t>(r) * block_lanes + (first + lanes) % block_lanes;
    store_int(place, vmax_int(load_int(place), right[r]));
  }
}

template <int first = 0>
CUTTLE_TARGET inline void int8_panel(const std::uint8_t* panel, const std::int32_t* start, const std::int8_t* queries,
                                     std::int64_t fours, std::int32_t* best) {
  int8_columns<first>(panel, start, queries, fours, best);
  if constexpr (first + 2 * lanes < panel_columns) int8_panel<first + 2 * lanes>(panel, start, queries, fours, best);
}

// best (12 x 16) = the largest w of each query and block over `panels` consecutive panels.
CUTTLE_TARGET inline void int8_tile(const std::uint8_t* panel, const std::int32_t* start, std::int64_t panels,
                                    const std::int8_t* queries, std::int64_t fours, std::int32_t* best) {
  for (int i = 0; i < tile_queries * block_lanes; i += lanes) store_int(best + i, set1_int(no_row));
  for (std::int64_t p = 0; p < panels; ++p)
    int8_panel(panel + p * fours * 4 * panel_columns, start + p * panel_columns, queries, fours, best);
}
