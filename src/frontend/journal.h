#pragma once
// What a part of the program changed. While a branch or a loop's body is evaluated, the first change of an object that was there before records
// what it was; afterwards the change can be undone, made again, or compared with the other branch's.
#include <tuple>
#include <unordered_map>

#include "item.h"

namespace mica::frontend {

/// Objects of one kind, in the order of their first change, so that a graph does not depend on addresses.
template <class T> class Changes {
 public:
  void record(const std::shared_ptr<T>& object, const T& state) {
    if (index_.try_emplace(object.get(), entries_.size()).second) entries_.emplace_back(object, state);
  }
  const T* find(const T* object) const {
    const auto it = index_.find(object);
    return it == index_.end() ? nullptr : &entries_[it->second].second;
  }
  /// The state of an object that is known.
  T& at(const T& object) { return entries_.at(index_.at(&object)).second; }
  std::vector<std::pair<std::shared_ptr<T>, T>>& entries() { return entries_; }
  const std::vector<std::pair<std::shared_ptr<T>, T>>& entries() const { return entries_; }
  void exchange() {
    for (auto& [object, state] : entries_) std::swap(*object, state);
  }

 private:
  std::vector<std::pair<std::shared_ptr<T>, T>> entries_;
  std::unordered_map<const T*, size_t> index_;
};

/// One state of each object that it knows. As a record of changes it holds what the objects were; after exchange() the objects are as they were
/// and it holds what they became.
class Journal {
 public:
  explicit Journal(uint64_t start = 0) : start_(start) {}
  /// Objects made since are not of interest: nothing outside knows them.
  uint64_t start() const { return start_; }
  template <class T> void touch(T& object) {
    if (object.born < start_) changes<T>().record(object.shared_from_this(), object);
  }
  template <class T> Changes<T>& changes() { return std::get<Changes<T>>(all_); }
  template <class T> const Changes<T>& changes() const { return std::get<Changes<T>>(all_); }
  void exchange() {
    std::apply([](auto&... c) { (c.exchange(), ...); }, all_);
  }

 private:
  uint64_t start_;
  std::tuple<Changes<Storage>, Changes<View>, Changes<ListObject>, Changes<DictObject>, Changes<InstanceObject>> all_;
};

}  // namespace mica::frontend
