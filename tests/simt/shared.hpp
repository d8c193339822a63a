// Shared memory: arrays that every block finds full of 0xFF, and that know who read and wrote each byte when.
//
// Two accesses to one byte race when different threads make them, one of them writes, no barrier lies between (of the
// block; __syncwarp for lanes of one warp) and not both are atomic. For every cell of bytes the array keeps the last
// write and two reads: the latest, and the latest of another warp or, where there is none, of another lane. One of the
// two races with a later write if any read does. A cell is as wide as the narrowest access so far.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <vector>

#include "tests/simt/machine.hpp"

namespace cuttle_simt {

class SharedArray {
 public:
  explicit SharedArray(const char* name, std::size_t bytes = 0) : name_(name) { resize(bytes); }

  void resize(std::size_t bytes) {
    bytes_ = bytes;
    memory_.resize((bytes + cell_most - 1) / cell_most);
    cells_.assign(memory_.size(), {});
    shift_ = cell_most_shift;
  }

  // The declaration is passed by a thread: the first one of a block finds memory that holds nothing yet.
  void declare_static() {
    if (poison()) Machine::the().count_static_shared(bytes_);
  }
  void declare_dynamic(const char* name) {
    Machine& machine = Machine::the();
    name_ = name;
    if (block_ != machine.block_serial() && bytes_ != machine.dynamic_shared_bytes())
      resize(machine.dynamic_shared_bytes());
    poison();
  }

  // Where `size` bytes at `offset` are, once they are known to be inside, aligned and no race.
  unsigned char* read(std::size_t offset, std::size_t size, std::size_t alignment) {
    check(offset, size, alignment, "read");
    for (Cell *cell = first_cell(offset, size), *last = cell + (size >> shift_); cell < last; ++cell) {
      if (cell->read[0] == now.stamp && cell->write < now.block_barrier) continue;
      if (!now.ordered(cell->write)) fail_race(offset, size, "read", cell->write, "wrote");
      note_read(*cell, now.stamp);
    }
    return begin() + offset;
  }
  unsigned char* write(std::size_t offset, std::size_t size, std::size_t alignment) {
    check(offset, size, alignment, "write");
    mark_written(offset, size, now.stamp, "write");
    return begin() + offset;
  }
  unsigned char* update_atomically(std::size_t offset, std::size_t size) {
    check(offset, size, size, "atomic update");
    mark_written(offset, size, now.stamp | Now::atomic, "atomic update");
    return begin() + offset;
  }

 private:
  static constexpr unsigned cell_most_shift = 4;
  static constexpr std::size_t cell_most = 1 << cell_most_shift;
  struct alignas(cell_most) Line {
    unsigned char byte[cell_most];
  };
  struct Cell {
    std::uint64_t write = 0, read[2] = {0, 0};
  };

  unsigned char* begin() { return memory_.data()->byte; }

  bool poison() {
    const std::uint64_t block = Machine::the().block_serial();
    if (block_ == block) return false;
    block_ = block;
    std::memset(memory_.data(), 0xFF, memory_.size() * sizeof(Line));
    return true;
  }

  void check(std::size_t offset, std::size_t size, std::size_t alignment, const char* what) {
    if (offset > bytes_ || size > bytes_ - offset || offset % alignment != 0) [[unlikely]]
      fail_bounds(offset, size, alignment, what);
  }

  Cell* first_cell(std::size_t offset, std::size_t size) {
    if (((offset | size) & ((std::size_t{1} << shift_) - 1)) != 0) [[unlikely]]
      narrow(static_cast<unsigned>(std::countr_zero(offset | size)));
    return cells_.data() + (offset >> shift_);
  }

  // Every cell becomes several, each with its history.
  void narrow(unsigned shift) {
    std::vector<Cell> cells;
    cells.reserve(memory_.size() << (cell_most_shift - shift));
    for (const Cell& cell : cells_) cells.insert(cells.end(), std::size_t{1} << (shift_ - shift), cell);
    cells_ = std::move(cells);
    shift_ = shift;
  }

  static void note_read(Cell& cell, std::uint64_t stamp) {
    const std::uint64_t latest = cell.read[0], other = cell.read[1];
    const auto same = [&](std::uint64_t a, std::uint64_t b, std::uint64_t bits) { return ((a ^ b) & bits) == 0; };
    const bool keep_other =
        latest < now.block_barrier || same(latest, stamp, Now::thread_bits) ||
        (same(latest, stamp, Now::warp_bits) && other >= now.block_barrier && !same(other, stamp, Now::warp_bits));
    if (!keep_other) cell.read[1] = latest;
    cell.read[0] = stamp;
  }

  void mark_written(std::size_t offset, std::size_t size, std::uint64_t stamp, const char* what) {
    for (Cell *cell = first_cell(offset, size), *last = cell + (size >> shift_); cell < last; ++cell) {
      if (!now.ordered(cell->write) && !(cell->write & stamp & Now::atomic))
        fail_race(offset, size, what, cell->write, "wrote");
      for (const std::uint64_t read : cell->read)
        if (!now.ordered(read)) fail_race(offset, size, what, read, "read");
      cell->write = stamp;
    }
  }

  [[noreturn, gnu::cold, gnu::noinline]] void fail_bounds(std::size_t offset, std::size_t size, std::size_t alignment,
                                                          const char* what) {
    const auto place = static_cast<std::ptrdiff_t>(offset);
    if (offset % alignment != 0)
      fail(what, " of ", size, " bytes at byte ", place, " of shared array ", name_, ", not a multiple of ", alignment);
    fail(what, " of ", size, " bytes at byte ", place, " of shared array ", name_, ", which has ", bytes_, " (index ",
         place / static_cast<std::ptrdiff_t>(size), " of ", bytes_ / size, ")");
  }
  [[noreturn, gnu::cold, gnu::noinline]] void fail_race(std::size_t offset, std::size_t size, const char* what,
                                                        std::uint64_t earlier, const char* did) {
    fail("race on shared array ", name_, ": ", what, " of ", size, " bytes at byte ", offset, " by thread ",
         now.stamp & Now::thread_bits, ", which thread ", earlier & Now::thread_bits, " ", did,
         " with no barrier between");
  }

  const char* name_;
  std::size_t bytes_ = 0;
  std::vector<Line> memory_;
  std::vector<Cell> cells_;
  unsigned shift_ = cell_most_shift;
  std::uint64_t block_ = 0;
};

// The one that a launch brings.
inline SharedArray& dynamic_shared() {
  static SharedArray& array = *new SharedArray("dynamic");
  return array;
}

}  // namespace cuttle_simt
