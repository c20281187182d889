#pragma once
#include <optional>
#include <utility>

namespace mica {

/// The failing half of a Result. What went wrong has already been told to a Diagnostics ("emit, then return failure").
struct Failure {};

/// A value, or a failure whose explanation stands in the Diagnostics that the callee was handed.
template <class T> class [[nodiscard]] Result {
 public:
  Result(Failure) {}
  Result(T value) : value_(std::move(value)) {}
  explicit operator bool() const { return value_.has_value(); }
  T& operator*() & { return *value_; }
  const T& operator*() const& { return *value_; }
  T&& operator*() && { return std::move(*value_); }
  T* operator->() { return &*value_; }
  const T* operator->() const { return &*value_; }

 private:
  std::optional<T> value_;
};

template <> class [[nodiscard]] Result<void> {
 public:
  Result() = default;
  Result(Failure) : ok_(false) {}
  explicit operator bool() const { return ok_; }

 private:
  bool ok_ = true;
};

}  // namespace mica
