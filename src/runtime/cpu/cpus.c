/* How many threads are worth having: the affinity mask and the cgroup's CPU quota, both of which containers set. */
#include "runtime.h"

int mica_affinity_cpus(void) {
  uint64_t mask[1024 / 64 * 8]; /* 8192 CPUs, what the kernel can be built for */
  memset(mask, 0, sizeof mask);
  if (sched_getaffinity(0, sizeof mask, mask) < 0) return 1;
  int count = 0;
  for (size_t i = 0; i < sizeof mask / sizeof mask[0]; ++i) {
    for (uint64_t word = mask[i]; word; word &= word - 1) ++count;
  }
  return count > 0 ? count : 1;
}

/* Reads a small file as text; false when there is none. */
static int read_text(const char* path, char* to, size_t bytes) {
  const int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return 0;
  size_t used = 0;
  for (;;) {
    const long got = read(fd, to + used, bytes - 1 - used);
    if (got <= 0) break;
    used += (size_t)got;
  }
  close(fd);
  to[used] = 0;
  return 1;
}

/* A decimal number at *text, which moves behind it; -1 when there is none ("max") or it is negative. */
static int64_t parse_number(const char** text) {
  while (**text == ' ') ++*text;
  if (**text < '0' || **text > '9') return -1;
  int64_t value = 0;
  for (; **text >= '0' && **text <= '9'; ++*text) {
    if (value < INT64_MAX / 10 - 10) value = value * 10 + (**text - '0');
  }
  return value;
}

static int quota_to_cpus(int64_t quota, int64_t period) {
  if (quota <= 0 || period <= 0) return 0;
  const int64_t cpus = (quota + period - 1) / period;
  return cpus > MICA_MAX_THREADS ? MICA_MAX_THREADS : (int)cpus;
}

static int quota_at(const char* folder, int v2) {
  char path[640], text[128];
  const char* t = text;
  if (v2) {
    mica_say(path, sizeof path, 0, "%s/cpu.max", folder);
    if (!read_text(path, text, sizeof text)) return 0;
    const int64_t quota = parse_number(&t);
    return quota_to_cpus(quota, quota < 0 ? 0 : parse_number(&t));
  }
  mica_say(path, sizeof path, 0, "%s/cpu.cfs_quota_us", folder);
  if (!read_text(path, text, sizeof text)) return 0;
  const int64_t quota = parse_number(&t);
  mica_say(path, sizeof path, 0, "%s/cpu.cfs_period_us", folder);
  if (!read_text(path, text, sizeof text)) return 0;
  t = text;
  return quota_to_cpus(quota, parse_number(&t));
}

/* The least quota of the group `group` ("/a/b") under `mount` and of all groups above it; 0: none. Inside a container the
 * group's path is often the host's and does not exist here: then only the mount's own files answer. */
static int least_quota(const char* mount, const char* group, size_t length, int v2) {
  char folder[512];
  int least = 0;
  for (;;) {
    mica_say(folder, sizeof folder, 0, "%s%.*s", mount, (int)length, group);
    const int cpus = quota_at(folder, v2);
    if (cpus && (!least || cpus < least)) least = cpus;
    if (length == 0) return least;
    do --length;
    while (length && group[length] != '/');
  }
}

static int has_controller_cpu(const char* list, size_t length) {
  for (size_t i = 0; i + 3 <= length; ++i) {
    const int starts = i == 0 || list[i - 1] == ',', ends = i + 3 == length || list[i + 3] == ',';
    if (starts && ends && memcmp(list + i, "cpu", 3) == 0) return 1;
  }
  return 0;
}

int mica_quota_cpus(const char* root) {
  char path[320], text[4096], mount[320];
  mica_say(path, sizeof path, 0, "%s/proc/self/cgroup", root);
  if (!read_text(path, text, sizeof text)) return 0;
  int least = 0;
  for (const char* line = text; *line;) { /* "0::/group" (v2) or "4:cpu,cpuacct:/group" (v1) */
    size_t length = 0;
    while (line[length] && line[length] != '\n') ++length;
    size_t first = 0, second = 0;
    while (first < length && line[first] != ':') ++first;
    second = first + 1;
    while (second < length && line[second] != ':') ++second;
    if (second < length) {
      const char* group = line + second + 1;
      const size_t group_length = length - second - 1;
      const char* folders[3] = {"cpu", "cpu,cpuacct", "cpuacct,cpu"};
      if (second == first + 1) {
        const char* mounts[2] = {"", "/unified"};
        for (int i = 0; i < 2; ++i) {
          mica_say(mount, sizeof mount, 0, "%s/sys/fs/cgroup%s", root, mounts[i]);
          const int cpus = least_quota(mount, group, group_length, 1);
          if (cpus && (!least || cpus < least)) least = cpus;
        }
      } else if (has_controller_cpu(line + first + 1, second - first - 1)) {
        for (int i = 0; i < 3; ++i) {
          mica_say(mount, sizeof mount, 0, "%s/sys/fs/cgroup/%s", root, folders[i]);
          const int cpus = least_quota(mount, group, group_length, 0);
          if (cpus && (!least || cpus < least)) least = cpus;
        }
      }
    }
    line += length;
    if (*line) ++line;
  }
  return least;
}

int mica_allowed_cpus(void) {
  const int affinity = mica_affinity_cpus(), quota = mica_quota_cpus("");
  return quota && quota < affinity ? quota : affinity;
}

int mica_parse_threads(const char* text) {
  const int64_t value = parse_number(&text);
  while (*text == ' ') ++text;
  return value >= 1 && value <= MICA_MAX_THREADS && *text == 0 ? (int)value : -1;
}
