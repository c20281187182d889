/* Memory for workspaces, copied weights and the pool, straight from the kernel. */
#include "runtime.h"

enum { PAGE = 4096, HUGE = 2 << 20 };

static int map_aligned(size_t bytes, size_t alignment, struct mica_block* block) {
  const size_t mapped = bytes + (alignment > PAGE ? alignment : 0);
  block->data = block->mapping = 0;
  block->mapping_bytes = 0;
  if (mapped < bytes) return 0;
  uint8_t* p = mmap(0, mapped, PROT_READ_WRITE, MAP_PRIVATE_ANONYMOUS, -1, 0);
  if (p == MAP_FAILED) return 0;
  block->mapping = p;
  block->mapping_bytes = mapped;
  block->data = (uint8_t*)(((uintptr_t)p + alignment - 1) & ~(uintptr_t)(alignment - 1));
  return 1;
}

int mica_map(size_t bytes, int touch, struct mica_block* block) {
  const int huge = bytes >= HUGE;
  const size_t unit = huge ? HUGE : PAGE;
  if (bytes > SIZE_MAX - 2 * (size_t)HUGE) return 0;
  const size_t rounded = bytes == 0 ? PAGE : (bytes + unit - 1) & ~(unit - 1);
  if (!map_aligned(rounded, unit, block)) return 0;
  if (huge) madvise(block->data, rounded, MADV_HUGEPAGE);
  if (touch && madvise(block->data, rounded, MADV_POPULATE_WRITE) != 0) { /* before Linux 5.14 */
    for (size_t i = 0; i < rounded; i += PAGE) *(volatile uint8_t*)(block->data + i) = 0;
  }
  return 1;
}

int mica_map_wiped_on_fork(size_t bytes, struct mica_block* block, int* pages_wiped) {
  const size_t rounded = (bytes + PAGE - 1) & ~(size_t)(PAGE - 1);
  if (!map_aligned(rounded, PAGE, block)) return 0;
  *pages_wiped = madvise(block->data, rounded, MADV_WIPEONFORK) == 0;
  return 1;
}

void mica_unmap(struct mica_block* block) {
  if (block->mapping) munmap(block->mapping, block->mapping_bytes);
  block->data = block->mapping = 0;
  block->mapping_bytes = 0;
}
