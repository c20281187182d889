#pragma once
// TorchScript a statement at a time, for whoever builds programs and wants to know what each line gives before writing the next. No torch type
// appears here.
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "mica/frontend/eager.h"

namespace mica {

/// Statements, compiled as a function of the variables that they read. Runs in any session whose variables have the types of the one it was
/// compiled for.
class ScriptStatement {
 public:
  ScriptStatement(ScriptStatement&&) noexcept;
  ~ScriptStatement();

 private:
  friend class ScriptSession;
  struct Impl;
  ScriptStatement();
  std::unique_ptr<Impl> impl_;
};

/// Variables and their values, as lines of one function would leave them: a view stays a view, so a write through it is seen by its base.
class ScriptSession {
 public:
  /// `mode` is eager or fp64; in fp64 everything floating is f64, as in EagerModel. From here on LibTorch runs on one thread.
  explicit ScriptSession(EagerMode mode);
  void set(const std::string& name, const RawTensor& value);
  /// `text` is one or more lines; `reads` are variables that it uses or writes into, `defines` those that it assigns.
  Result<ScriptStatement> compile(const std::string& text, std::span<const std::string> reads, std::span<const std::string> defines,
                                  Diagnostics& diagnostics) const;
  /// Runs it; after a failure the variables are as before, but what they hold may have been written to.
  Result<void> run(const ScriptStatement& statement, Diagnostics& diagnostics);
  /// The value of a tensor, dense; none for numbers, unknown names and dtypes that Mica does not have.
  std::optional<RawTensor> tensor(const std::string& name) const;
  /// The same for what LibTorch calls the type: none, or its type without its data.
  std::optional<TensorType> type(const std::string& name) const;
  /// Writes into the tensor itself, through whatever view it is; not where elements of it share memory.
  void overwrite(const std::string& name, const RawTensor& value);
  /// Puts a tensor of its own in the place of the variable, until unshadow() puts back what was there.
  void shadow(const std::string& name, const RawTensor& value);
  void unshadow();
  bool share_storage(const std::string& a, const std::string& b) const;
  /// Whether they have elements in common and are not one and the same view.
  bool overlap(const std::string& a, const std::string& b) const;
  void forget(const std::string& name);
  /// A session with tensors of its own that are views of each other as these are.
  ScriptSession copy() const;

  ScriptSession(ScriptSession&&) noexcept;
  ScriptSession& operator=(ScriptSession&&) noexcept;
  ~ScriptSession();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace mica
