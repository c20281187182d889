#pragma once
// What `--tune` found, kept in a file: a line of JSON a kernel. Lines are only appended; of several for one kernel the last counts. So a file can be
// copied, joined with others and cut, and two compilations can write into it.
//   {"schema":1,"where":"mica 0.1.0; ...","kernel":"graph(...){...}","choices":{"tile":"6 rows, 4
//   vectors"},"untried":0,"first_us":51.2,"best_us":47.0}
#include <filesystem>
#include <string>
#include <vector>

#include "mica/pass/choices.h"
#include "mica/support/diagnostic.h"

namespace mica {

struct TuneEntry {
  std::string kernel;                ///< ChoiceSubject::description
  Answer choices;                    ///< the fastest candidates; those that are not here: the first
  int64_t untried = 0;               ///< candidates that there was no time for
  double first_us = 0, best_us = 0;  ///< a run, with the first candidates and with these; for whoever reads the file
};

struct TuneCache {
  std::vector<TuneEntry> entries;  ///< one a kernel
  Answers answers() const;
};

/// Entries for `where`: target, threads, version, whatever else of a compilation decides. Lines that are none are reported as warnings and skipped. A
/// file that is not there is an error where `must_exist`, else an empty cache.
Result<TuneCache> read_tune_cache(const std::filesystem::path& file, const std::string& where, bool must_exist, Diagnostics& diagnostics);

/// Appends all of them in one write, under a lock; makes the folder.
Result<void> append_tune_cache(const std::filesystem::path& file, const std::string& where, const std::vector<TuneEntry>& entries,
                               Diagnostics& diagnostics);

/// $XDG_CACHE_HOME/mica/tune.jsonl, else ~/.cache/mica/tune.jsonl.
Result<std::filesystem::path> default_tune_cache(Diagnostics& diagnostics);

}  // namespace mica
