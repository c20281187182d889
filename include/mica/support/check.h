#pragma once
#include <string_view>

namespace mica {

/// Reports a bug of Mica's own (file, line, what did not hold) on stderr and ends the process with exit code 70.
[[noreturn]] void check_failed(const char* file, int line, const char* condition, std::string_view message = {});

}  // namespace mica

/// States an invariant of Mica itself; never used for what a user can cause.
#define MICA_CHECK(condition, ...) ((condition) ? void(0) : ::mica::check_failed(__FILE__, __LINE__, #condition __VA_OPT__(, ) __VA_ARGS__))
