// A pickle is a program for a stack machine. LibTorch's own machine runs it without bounds (a storage may claim more elements than its record
// has bytes), so this one walks it first: the opcodes that TorchScript writes are allowed, every read is checked, and of the values only text and
// integers are kept, which is all that a reference to a storage consists of.
#include "pickle.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <string_view>

namespace mica::frontend {
namespace {

constexpr size_t max_stack = 1 << 22;  // values alive at once, and values remembered

struct Cell {
  enum class Kind : uint8_t { other, mark, text, integer, tuple, list, int_list } kind = Kind::other;
  int64_t integer = 0;      ///< of integers; the number of a tuple's items; the largest item of a list of integers
  int64_t smallest = 0;     ///< item of a list of integers
  std::string text;         ///< of text; "module name" of a class
  std::vector<Cell> items;  ///< of tuples up to eight long
};
using Kind = Cell::Kind;

/// Bytes of one element of "torch.FloatStorage"; 0 when unknown.
uint64_t element_bytes(std::string_view type) {
  constexpr std::pair<std::string_view, uint64_t> sizes[] = {
      {"DoubleStorage", 8},       {"FloatStorage", 4},          {"HalfStorage", 2},    {"BFloat16Storage", 2}, {"LongStorage", 8},
      {"IntStorage", 4},          {"ShortStorage", 2},          {"CharStorage", 1},    {"ByteStorage", 1},     {"BoolStorage", 1},
      {"ComplexFloatStorage", 8}, {"ComplexDoubleStorage", 16}, {"QInt8Storage", 1},   {"QUInt8Storage", 1},   {"QInt32Storage", 4},
      {"QUInt4x2Storage", 1},     {"QUInt2x4Storage", 1},       {"UntypedStorage", 1},
  };
  for (const auto& [name, bytes] : sizes) {
    if (type == std::string("torch ") + std::string(name)) return bytes;
  }
  return 0;
}

class Walker {
 public:
  Walker(std::span<const unsigned char> bytes, std::vector<PickledStorage>& storages) : b_(bytes), storages_(storages) {}

  std::string run() {
    while (trouble_.empty()) {
      if (at_ >= b_.size()) return "it has no end";
      const unsigned char op = b_[at_++];
      if (op == '.') return trouble_;
      step(op);
      if (stack_.size() > max_stack || memo_.size() > max_stack) return "it holds too many values";
    }
    return trouble_;
  }

 private:
  void fail(std::string text) {
    if (trouble_.empty()) trouble_ = std::move(text);
  }
  template <class T> T take() {
    T value{};
    if (b_.size() - at_ < sizeof(T)) return fail("it is cut off"), value;
    std::memcpy(&value, b_.data() + at_, sizeof(T));
    at_ += sizeof(T);
    return value;
  }
  std::string take_text(uint64_t size) {
    if (size > b_.size() - at_) return fail("it is cut off"), std::string();
    std::string text(reinterpret_cast<const char*>(b_.data()) + at_, size);
    at_ += size;
    return text;
  }
  std::string take_line() {
    std::string line;
    while (at_ < b_.size() && b_[at_] != '\n') line += static_cast<char>(b_[at_++]);
    if (at_ >= b_.size() || line.size() > 4096) return fail("it is cut off"), std::string();
    ++at_;
    return line;
  }
  void push(Kind kind, std::string text = {}, int64_t integer = 0) {
    stack_.push_back({.kind = kind, .integer = integer, .text = std::move(text), .items = {}});
  }
  Cell pop() {
    if (stack_.empty()) return fail("it takes a value where there is none"), Cell{};
    Cell cell = std::move(stack_.back());
    stack_.pop_back();
    return cell;
  }
  /// Pops down to and including the mark.
  std::vector<Cell> pop_to_mark() {
    size_t mark = stack_.size();
    while (mark > 0 && stack_[mark - 1].kind != Kind::mark) --mark;
    if (mark == 0) return fail("it has no mark where one is needed"), std::vector<Cell>{};
    std::vector<Cell> items(std::make_move_iterator(stack_.begin() + static_cast<ptrdiff_t>(mark)), std::make_move_iterator(stack_.end()));
    stack_.resize(mark - 1);
    return items;
  }
  void tuple(std::vector<Cell> items);
  void append(std::vector<Cell> items);
  void reduce();
  void get(uint32_t slot) {
    const auto it = memo_.find(slot);
    if (it == memo_.end()) fail("it recalls a value that it never stored");
    else if (has_table_ && it->second.kind == Kind::list) fail("it recalls a list");  // as it was before it was filled
    else stack_.push_back(it->second);
  }
  void put(uint32_t slot) {
    if (stack_.empty()) fail("it stores a value where there is none");
    else memo_[slot] = stack_.back();
  }
  void storage();
  void step(unsigned char op);

  std::span<const unsigned char> b_;
  std::vector<PickledStorage>& storages_;
  size_t at_ = 0;
  std::vector<Cell> stack_;
  std::map<uint32_t, Cell> memo_;
  std::string trouble_;
  bool has_table_ = false;  ///< of texts, as in debug records
  int64_t table_ = -1;      ///< its length once it is known
};

void Walker::tuple(std::vector<Cell> items) {
  Cell cell{.kind = Kind::tuple, .integer = static_cast<int64_t>(items.size()), .text = {}, .items = {}};
  if (has_table_ && table_ < 0) {
    for (const Cell& i : items) {
      if (i.kind != Kind::text) return fail("its table of texts holds something else");
    }
    table_ = cell.integer;
  }
  // A debug record: (positions of texts in the table, position of the file's name, line).
  if (has_table_ && items.size() == 3 && items[0].kind == Kind::int_list) {
    const bool inside =
        items[0].smallest >= 0 && items[0].integer < table_ && items[1].kind == Kind::integer && items[1].integer >= 0 && items[1].integer < table_;
    if (!inside) return fail("it refers to a text that its table does not have");
  }
  if (items.size() <= 8) {
    for (Cell& i : items) i.items.clear();  // nested tuples are not needed, and copies of them could grow without bound
    cell.items = std::move(items);
  }
  stack_.push_back(std::move(cell));
}

void Walker::append(std::vector<Cell> items) {
  Cell list = pop();
  for (const Cell& i : items) {
    if (i.kind != Kind::integer) list.kind = Kind::other;
    list.integer = std::max(list.integer, i.integer), list.smallest = std::min(list.smallest, i.integer);
  }
  stack_.push_back(std::move(list));
}

void Walker::reduce() {
  const Cell arguments = pop(), callee = pop();
  const bool ints = callee.text == "torch.jit._pickle build_intlist" && arguments.items.size() == 1 && arguments.items[0].kind == Kind::list;
  push(ints ? Kind::int_list : Kind::other);
  if (ints) stack_.back().integer = arguments.items[0].integer, stack_.back().smallest = arguments.items[0].smallest;
}

/// ('storage', torch.FloatStorage, '0', 'cpu', 1728)
void Walker::storage() {
  const Cell id = pop();
  if (id.kind != Kind::tuple || id.items.size() != 5 || id.items[0].text != "storage" || id.items[2].kind != Kind::text ||
      id.items[4].kind != Kind::integer)
    return fail("it refers to a storage in an unknown form");
  const uint64_t size = element_bytes(id.items[1].text);
  if (!size) return fail(fmt::format("it refers to a storage of the unknown kind '{}'", id.items[1].text));
  const int64_t count = id.items[4].integer;
  if (count < 0 || count > (int64_t{1} << 50)) return fail("it refers to a storage of an impossible size");
  storages_.push_back({id.items[2].text, static_cast<uint64_t>(count) * size});
  push(Kind::other);
}

void Walker::step(unsigned char op) {
  switch (op) {
    case 0x80:
      if (take<uint8_t>() > 5) fail("its protocol is unknown");
      break;                            // PROTO
    case '(': push(Kind::mark); break;  // MARK
    case 'N':
    case 0x88:
    case 0x89:
    case '}': push(Kind::other); break;                          // NONE NEWTRUE NEWFALSE EMPTY_DICT
    case ']': push(Kind::list, {}, -1); break;                   // EMPTY_LIST
    case ')': tuple({}); break;                                  // EMPTY_TUPLE
    case 'K': push(Kind::integer, {}, take<uint8_t>()); break;   // BININT1
    case 'M': push(Kind::integer, {}, take<uint16_t>()); break;  // BININT2
    case 'J': push(Kind::integer, {}, take<int32_t>()); break;   // BININT
    case 0x8a: {                                                 // LONG1
      const size_t size = take<uint8_t>();
      const std::string digits = take_text(size);
      int64_t value = 0;
      if (size > 8) return fail("it holds an integer of more than 64 bits");
      for (size_t i = 0; i < digits.size(); ++i)
        value |= static_cast<int64_t>(static_cast<uint64_t>(static_cast<unsigned char>(digits[i])) << (8 * i));
      if (size && size < 8 && (static_cast<unsigned char>(digits.empty() ? 0 : digits.back()) & 0x80))
        value |= static_cast<int64_t>(~uint64_t{0} << (8 * size));
      push(Kind::integer, {}, value);
      break;
    }
    case 'G': take<uint64_t>(), push(Kind::other); break;  // BINFLOAT
    case 'X': {                                            // BINUNICODE
      push(Kind::text, take_text(take<uint32_t>()));
      if (stack_.size() == 1) has_table_ = stack_.back().text == "FORMAT_WITH_STRING_TABLE";
      break;
    }
    case 0x8c: push(Kind::text, take_text(take<uint8_t>())); break;   // SHORT_BINUNICODE
    case 0x8d: push(Kind::text, take_text(take<uint64_t>())); break;  // BINUNICODE8
    case 'T': push(Kind::text, take_text(take<uint32_t>())); break;   // BINSTRING
    case 'U': push(Kind::text, take_text(take<uint8_t>())); break;    // SHORT_BINSTRING
    case 'c': {                                                       // GLOBAL
      const std::string module = take_line();
      push(Kind::other, module + " " + take_line());
      break;
    }
    case 'q': put(take<uint8_t>()); break;   // BINPUT
    case 'r': put(take<uint32_t>()); break;  // LONG_BINPUT
    case 'h': get(take<uint8_t>()); break;   // BINGET
    case 'j': get(take<uint32_t>()); break;  // LONG_BINGET
    case 't': tuple(pop_to_mark()); break;   // TUPLE
    case 0x85:
    case 0x86:
    case 0x87: {  // TUPLE1 TUPLE2 TUPLE3
      std::vector<Cell> items(op - 0x84u);
      for (size_t i = items.size(); i-- > 0;) items[i] = pop();
      tuple(std::move(items));
      break;
    }
    case 'e': append(pop_to_mark()); break;                    // APPENDS
    case 'u': pop_to_mark(), pop(), push(Kind::other); break;  // SETITEMS
    case 'a': {                                                // APPEND
      std::vector<Cell> item(1);
      item[0] = pop();
      append(std::move(item));
      break;
    }
    case 's': pop(), pop(), pop(), push(Kind::other); break;  // SETITEM
    case 'l':
    case 'd': pop_to_mark(), push(Kind::other); break;  // LIST DICT
    case 'R': reduce(); break;                          // REDUCE
    case 0x81:
    case 'b': pop(), pop(), push(Kind::other); break;  // NEWOBJ BUILD
    case '0': pop(); break;                            // POP
    case 'Q': storage(); break;                        // BINPERSID
    default: fail(fmt::format("it holds the opcode {:#04x}, which TorchScript does not write", op));
  }
}

}  // namespace

std::string read_storages(std::span<const unsigned char> pickle, std::vector<PickledStorage>& storages) { return Walker(pickle, storages).run(); }

}  // namespace mica::frontend
