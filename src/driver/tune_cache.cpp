#include "mica/driver/tune_cache.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <nlohmann/json.hpp>

#include "mica/driver/file.h"

namespace mica {

namespace {

using nlohmann::json;

constexpr size_t told_lines = 3;  ///< that are no entries; of more only the number is told

/// None for what is no entry, in whatever way.
std::optional<std::pair<std::string, TuneEntry>> parse_line(std::string_view line) {
  const json j = json::parse(line, nullptr, false);
  const auto text = [&](const char* key) { return j.contains(key) && j[key].is_string(); };
  if (!j.is_object() || !text("where") || !text("kernel") || !j.contains("choices") || !j["choices"].is_object()) return std::nullopt;
  if (!j.contains("schema") || j["schema"] != 1) return std::nullopt;
  TuneEntry e;
  e.kernel = j["kernel"].get<std::string>();
  for (const auto& [knob, candidate] : j["choices"].items()) {
    if (!candidate.is_string()) return std::nullopt;
    e.choices[knob] = candidate.get<std::string>();
  }
  const auto number = [&](const char* key) { return j.contains(key) && j[key].is_number() ? j[key].get<double>() : 0.0; };
  e.untried = static_cast<int64_t>(std::clamp(number("untried"), 0.0, 1e9));
  e.first_us = number("first_us"), e.best_us = number("best_us");
  return std::pair{j["where"].get<std::string>(), std::move(e)};
}

std::string line_of(const std::string& where, const TuneEntry& e) {
  const auto rounded = [](double us) { return std::round(us * 1000) / 1000; };
  const nlohmann::ordered_json j = {{"schema", 1},
                                    {"where", where},
                                    {"kernel", e.kernel},
                                    {"choices", e.choices},
                                    {"untried", e.untried},
                                    {"first_us", rounded(e.first_us)},
                                    {"best_us", rounded(e.best_us)}};
  return j.dump(-1, ' ', false, json::error_handler_t::replace) + "\n";
}

Failure not_writable(const std::filesystem::path& file, int code, Diagnostics& diagnostics) {
  diagnostics.environment("tune-cache-not-writable", "cannot write what was measured into `{}`: {}", file.string(), std::strerror(code))
      .help("--tune-cache FILE names another file");
  return Failure{};
}

}  // namespace

Answers TuneCache::answers() const {
  Answers all;
  for (const TuneEntry& e : entries) all[e.kernel] = e.choices;
  return all;
}

Result<TuneCache> read_tune_cache(const std::filesystem::path& file, const std::string& where, bool must_exist, Diagnostics& diagnostics) {
  TuneCache cache;
  std::error_code ignored;
  if (!must_exist && !std::filesystem::exists(file, ignored)) return cache;
  const auto text = read_file(file, diagnostics);
  if (!text) return Failure{};
  std::map<std::string, size_t> known;
  size_t number = 0, bad = 0;
  for (size_t at = 0; at < text->size();) {
    const size_t end = std::min(text->find('\n', at), text->size());
    const std::string_view line = std::string_view(*text).substr(at, end - at);
    at = end + 1;
    ++number;
    if (line.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    auto parsed = parse_line(line);
    if (!parsed) {
      if (++bad <= told_lines)
        diagnostics.warning("tune-cache-line", "line {} of `{}` is no entry of a cache, and is skipped", number, file.string());
      continue;
    }
    if (parsed->first != where) continue;
    const auto [entry, fresh] = known.try_emplace(parsed->second.kernel, cache.entries.size());
    if (fresh) cache.entries.push_back(std::move(parsed->second));
    else cache.entries[entry->second] = std::move(parsed->second);
  }
  if (bad > told_lines) diagnostics.warning("tune-cache-line", "{} more lines of `{}` are no entries", bad - told_lines, file.string());
  return cache;
}

Result<void> append_tune_cache(const std::filesystem::path& file, const std::string& where, const std::vector<TuneEntry>& entries,
                               Diagnostics& diagnostics) {
  if (entries.empty()) return {};
  std::error_code ignored;
  if (file.has_parent_path()) std::filesystem::create_directories(file.parent_path(), ignored);
  const int descriptor = ::open(file.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (descriptor < 0) return not_writable(file, errno, diagnostics);
  while (::flock(descriptor, LOCK_EX) != 0 && errno == EINTR) {}
  // What a writer that was killed left is ended first, so that only its own line is lost.
  char last = '\n';
  const off_t size = ::lseek(descriptor, 0, SEEK_END);
  const bool torn = size > 0 && ::pread(descriptor, &last, 1, size - 1) == 1 && last != '\n';
  std::string text(torn ? 1 : 0, '\n');
  for (const TuneEntry& e : entries) text += line_of(where, e);
  const int code = write_all(descriptor, text);
  ::close(descriptor);
  if (code) return not_writable(file, code, diagnostics);
  return {};
}

Result<std::filesystem::path> default_tune_cache(Diagnostics& diagnostics) {
  const char *cache = std::getenv("XDG_CACHE_HOME"), *home = std::getenv("HOME");
  if (cache && *cache) return std::filesystem::path(cache) / "mica" / "tune.jsonl";
  if (home && *home) return std::filesystem::path(home) / ".cache" / "mica" / "tune.jsonl";
  diagnostics.environment("no-cache-folder", "neither XDG_CACHE_HOME nor HOME says where to keep what is measured")
      .help("--tune-cache FILE names a file");
  return Failure{};
}

}  // namespace mica
