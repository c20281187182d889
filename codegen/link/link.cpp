// From objects to the .so: the last arrow. LLD reads files only, so everything is first written to a folder of our own
// beside the output; LLD keeps state in globals, so one link goes on at a time.
#include "mica/codegen/link.h"

#include <lld/Common/Driver.h>
#include <llvm/Support/raw_ostream.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <mutex>

#include "embedded.h"
#include "mica/artifact/elf.h"

LLD_HAS_DRIVER(elf)

namespace mica {
namespace {

namespace fs = std::filesystem;

/// A hidden folder that goes away with all it holds.
class WorkFolder {
 public:
  WorkFolder() = default;
  ~WorkFolder() {
    std::error_code ignored;
    if (!path_.empty()) fs::remove_all(path_, ignored);
  }
  WorkFolder(const WorkFolder&) = delete;
  WorkFolder& operator=(const WorkFolder&) = delete;

  Result<void> create(const fs::path& parent, Diagnostics& diagnostics) {
    std::string name = (parent / ".mica-XXXXXX").string();
    if (!mkdtemp(name.data())) {
      const int error = errno;
      diagnostics.environment("output-folder", "cannot write to folder '{}': {}", parent.string(), std::strerror(error))
          .help(error == ENOENT ? "make the folder first, or write elsewhere with -o" : "write elsewhere with -o");
      return Failure{};
    }
    path_ = name;
    return {};
  }
  fs::path operator/(const std::string& name) const { return fs::path(path_) / name; }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

Result<void> check_output(const fs::path& output, Diagnostics& diagnostics) {
  std::error_code ignored;
  if (output.filename().empty() || fs::is_directory(output, ignored)) {
    diagnostics.error("output-is-folder", "output '{}' is a folder", output.string()).help("name a file: -o " + (output / "model.so").string());
    return Failure{};
  }
  return {};
}

/// Everything that LLD is given, in order; the paths are those in `work`.
std::vector<std::string> link_arguments(const artifact::Image& image, const TargetFiles& files, const WorkFolder& work) {
  std::vector<std::string> a = {"ld.lld", "-shared", "-m", files.emulation};
  for (const char* z : {"noexecstack", "relro", "now"}) a.insert(a.end(), {"-z", z});
  if (image.descriptor.triple.starts_with("x86_64")) a.insert(a.end(), {"-z", "lrodata-after-bss"});  // weights last
  a.insert(a.end(), {"--no-undefined", "-Bsymbolic", "--hash-style=gnu", "--build-id=none", "--eh-frame-hdr"});
  a.push_back("--threads=1");  // no threads of LLD's stay behind, which a fork would lose; the weights do not go through it
  const std::string alias = artifact::query_symbol(image.descriptor);
  if (!alias.empty()) a.push_back("--defsym=" + alias + "=mica_model_query");
  a.push_back("--version-script=" + (work / "exports.map").string());
  for (size_t i = 0; i < image.objects.size(); ++i) a.push_back((work / ("model" + std::to_string(i) + ".o")).string());
  for (const char* name : {"runtime.o", "data.o", "libc.so.6"}) a.push_back((work / name).string());
  a.insert(a.end(), {"-o", (work / "out.so").string()});
  return a;
}

Result<void> write_inputs(const artifact::Image& image, const TargetFiles& files, const WorkFolder& work, Diagnostics& diagnostics) {
  const std::string alias = artifact::query_symbol(image.descriptor);
  const std::string exports = "{ global: mica_model_query; " + (alias.empty() ? alias : alias + "; ") + "local: *; };\n";
  bool good = true;
  const auto write = [&](const std::string& name, std::string_view bytes) { good = good && artifact::write_file(work / name, bytes, diagnostics); };
  write("exports.map", exports);
  for (size_t i = 0; i < image.objects.size(); ++i) write("model" + std::to_string(i) + ".o", image.objects[i]);
  write("runtime.o", files.runtime);
  write("libc.so.6", files.libc_stub);
  if (!good) return Failure{};
  return artifact::write_data_object(image, work / "data.o", diagnostics);
}

/// Removes the work folder's name from LLD's text: it is gone when the text is read.
std::string without(std::string text, const std::string& folder) {
  for (size_t at; (at = text.find(folder + "/")) != std::string::npos;) text.erase(at, folder.size() + 1);
  return text;
}

Result<void> run_lld(const std::vector<std::string>& arguments, const WorkFolder& work, Diagnostics& diagnostics) {
  static constinit std::mutex one_at_a_time;
  static constinit bool usable = true;  // under the mutex; false after LLD has crashed
  const std::lock_guard lock(one_at_a_time);

  std::vector<const char*> argv;
  for (const std::string& a : arguments) argv.push_back(a.c_str());
  std::string text;
  llvm::raw_string_ostream stream(text);
  lld::Result result{1, true};
  if (usable) result = lld::lldMain(argv, stream, stream, {{lld::Gnu, &lld::elf::link}});
  else text = "the linker crashed earlier in this process";
  usable = usable && result.canRunAgain;
  if (result.retCode == 0 && result.canRunAgain) return {};
  Diagnostic& d = diagnostics.environment("link-failed", "cannot link the shared object");
  d.note(without(stream.str(), work.path()));
  const bool full = text.find(std::strerror(ENOSPC)) != std::string::npos;
  d.help(full ? "free some space, or write to another disk with -o" : "if this names an undefined symbol it is a bug of Mica's: please report it");
  return Failure{};
}

}  // namespace

Result<void> link_shared_object(const artifact::Image& image, const fs::path& output, Diagnostics& diagnostics) {
  if (!artifact::check_image(image, diagnostics) || !check_output(output, diagnostics)) return Failure{};
  const TargetFiles files = image.descriptor.triple.starts_with("x86_64") ? x86_64_files() : aarch64_files();

  WorkFolder work;
  const fs::path parent = output.has_parent_path() ? output.parent_path() : fs::path(".");
  if (!work.create(parent, diagnostics) || !write_inputs(image, files, work, diagnostics)) return Failure{};
  if (!run_lld(link_arguments(image, files, work), work, diagnostics)) return Failure{};
  if (!artifact::append_weights(image, work / "out.so", diagnostics)) return Failure{};

  // A rename replaces the old file at once and leaves processes that have it mapped with the old bytes.
  if (rename((work / "out.so").c_str(), output.c_str()) == 0) return {};
  diagnostics.environment("write-failed", "cannot write '{}': {}", output.string(), std::strerror(errno)).help("write elsewhere with -o");
  return Failure{};
}

}  // namespace mica
