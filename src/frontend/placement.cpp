// Where PyTorch lays a tensor's elements: what is_contiguous(), stride() and as_strided() depend on. A whole storage is row-major, or nothing is
// known of it; what a view does to strides LibTorch itself says, run on tensors without data.
#include <ATen/ATen.h>
#include <torch/csrc/jit/runtime/operator.h>

#include <algorithm>

#include "evaluator.h"

namespace mica::frontend {
namespace {

/// Operators whose results are new tensors that lie row-major when all operands do. Not among them: what gives out transposed buffers (attention,
/// recurrent layers, einsum) or what depends on the kind of index.
constexpr std::string_view row_major_operators[] = {
    "aten::__and__",
    "aten::__lshift__",
    "aten::__or__",
    "aten::__rshift__",
    "aten::__xor__",
    "aten::_convolution",
    "aten::abs",
    "aten::acos",
    "aten::adaptive_avg_pool2d",
    "aten::add",
    "aten::addcdiv",
    "aten::addcmul",
    "aten::addmm",
    "aten::all",
    "aten::amax",
    "aten::amin",
    "aten::any",
    "aten::arange",
    "aten::argmax",
    "aten::argmin",
    "aten::asin",
    "aten::atan",
    "aten::atan2",
    "aten::avg_pool2d",
    "aten::batch_norm",
    "aten::bitwise_and",
    "aten::bitwise_left_shift",
    "aten::bitwise_not",
    "aten::bitwise_or",
    "aten::bitwise_right_shift",
    "aten::bitwise_xor",
    "aten::bmm",
    "aten::cat",
    "aten::ceil",
    "aten::celu",
    "aten::clamp",
    "aten::clamp_max",
    "aten::clamp_min",
    "aten::constant_pad_nd",
    "aten::conv1d",
    "aten::conv2d",
    "aten::conv3d",
    "aten::cos",
    "aten::cosh",
    "aten::cumprod",
    "aten::cumsum",
    "aten::div",
    "aten::dropout",
    "aten::elu",
    "aten::embedding",
    "aten::empty_like",
    "aten::eq",
    "aten::erf",
    "aten::erfc",
    "aten::exp",
    "aten::exp2",
    "aten::expm1",
    "aten::eye",
    "aten::flip",
    "aten::float_power",
    "aten::floor",
    "aten::floor_divide",
    "aten::fmax",
    "aten::fmin",
    "aten::fmod",
    "aten::full",
    "aten::full_like",
    "aten::gather",
    "aten::ge",
    "aten::gelu",
    "aten::group_norm",
    "aten::gt",
    "aten::hardshrink",
    "aten::hardsigmoid",
    "aten::hardswish",
    "aten::hardtanh",
    "aten::hstack",
    "aten::hypot",
    "aten::index_add",
    "aten::index_fill",
    "aten::index_put",
    "aten::index_select",
    "aten::isfinite",
    "aten::isinf",
    "aten::isnan",
    "aten::layer_norm",
    "aten::le",
    "aten::leaky_relu",
    "aten::lerp",
    "aten::linear",
    "aten::linspace",
    "aten::log",
    "aten::log10",
    "aten::log1p",
    "aten::log2",
    "aten::log_sigmoid",
    "aten::log_softmax",
    "aten::logaddexp",
    "aten::logical_and",
    "aten::logical_not",
    "aten::logical_or",
    "aten::logical_xor",
    "aten::logsumexp",
    "aten::lt",
    "aten::masked_fill",
    "aten::matmul",
    "aten::max_pool2d",
    "aten::maximum",
    "aten::mean",
    "aten::minimum",
    "aten::mish",
    "aten::mm",
    "aten::mul",
    "aten::nan_to_num",
    "aten::ne",
    "aten::neg",
    "aten::new_full",
    "aten::new_ones",
    "aten::new_zeros",
    "aten::one_hot",
    "aten::ones",
    "aten::ones_like",
    "aten::pow",
    "aten::prod",
    "aten::reciprocal",
    "aten::relu",
    "aten::relu6",
    "aten::remainder",
    "aten::repeat",
    "aten::roll",
    "aten::round",
    "aten::rsqrt",
    "aten::rsub",
    "aten::scalar_tensor",
    "aten::scatter",
    "aten::scatter_add",
    "aten::selu",
    "aten::sigmoid",
    "aten::sign",
    "aten::silu",
    "aten::sin",
    "aten::sinh",
    "aten::softmax",
    "aten::softplus",
    "aten::softshrink",
    "aten::sqrt",
    "aten::square",
    "aten::stack",
    "aten::std",
    "aten::sub",
    "aten::sum",
    "aten::tan",
    "aten::tanh",
    "aten::tensor",
    "aten::threshold",
    "aten::tril",
    "aten::triu",
    "aten::trunc",
    "aten::upsample_bilinear2d",
    "aten::upsample_nearest2d",
    "aten::var",
    "aten::vstack",
    "aten::where",
    "aten::zeros",
    "aten::zeros_like",
};

std::vector<int64_t> row_major(const std::vector<int64_t>& sizes) {
  std::vector<int64_t> strides(sizes.size(), 1);
  for (size_t a = sizes.size(); a-- > 1;) strides[a - 1] = strides[a] * std::max<int64_t>(sizes[a], 1);
  return strides;
}

}  // namespace

std::optional<Placement> Evaluator::placement_of(const Tensor& tensor) const {
  if (tensor.view) return tensor.view->placement;
  const Storage& storage = *tensor.storage;
  const Shape& shape = storage.contents->type.shape;
  if (storage.placement) return storage.placement;
  if (!shape.is_static() || !(storage.row_major || storage.origin == Origin::input)) return std::nullopt;
  return Placement{.strides = row_major(shape.sizes()), .offset = 0};
}

bool Evaluator::is_row_major(const Tensor& tensor) const {
  if (!tensor.view && (tensor.storage->row_major || tensor.storage->origin == Origin::input)) return true;
  const auto placement = placement_of(tensor);
  if (!placement) return false;
  const std::vector<int64_t> sizes = tensor.type().shape.sizes(), dense = row_major(sizes);
  if (std::find(sizes.begin(), sizes.end(), 0) != sizes.end()) return true;
  for (size_t a = 0; a < sizes.size(); ++a)
    if (sizes[a] != 1 && placement->strides[a] != dense[a]) return false;
  return true;
}

void Evaluator::note_placement(const std::string& base_name, const std::vector<Item>& in, const std::vector<Item>& results) {
  if (std::find(std::begin(row_major_operators), std::end(row_major_operators), base_name) == std::end(row_major_operators)) return;
  const std::function<bool(const Item&)> lies_so = [&](const Item& i) {
    if (i.tensor()) return is_row_major(*i.tensor());
    return !i.list() || std::all_of(i.list()->items.begin(), i.list()->items.end(), lies_so);
  };
  if (!std::all_of(in.begin(), in.end(), lies_so)) return;
  for (const Item& r : results)
    if (r.tensor() && !r.tensor()->view) r.tensor()->storage->row_major = true;
}

std::optional<Evaluator::LaidOut> Evaluator::lay_out(const torch::jit::Operator& op, const std::vector<NamedItem>& arguments) {
  const Tensor& self = *arguments[0].item.tensor();
  const auto base = placement_of(self);
  if (!base) return std::nullopt;
  torch::jit::Stack stack;
  try {
    LaidOut laid;
    laid.self =
        at::empty_strided(self.type().shape.sizes(), base->strides, at::TensorOptions().device(at::kMeta).dtype(scalar_type_of(self.type().dtype)));
    stack.emplace_back(laid.self);
    for (size_t i = 1; i < arguments.size(); ++i) {
      if (const Tensor* other = arguments[i].item.tensor()) {  // asked for its dtype or sizes
        if (!other->type().shape.is_static()) return std::nullopt;
        const auto options = at::TensorOptions().device(at::kMeta).dtype(scalar_type_of(other->type().dtype));
        stack.emplace_back(at::empty(other->type().shape.sizes(), options));
        continue;
      }
      auto value = ivalue_of(arguments[i].item, arguments[i].schema->type(), false);
      if (!value) return std::nullopt;
      if (value->isDevice()) value = c10::IValue(c10::Device(at::kMeta));  // there is one device
      stack.push_back(std::move(*value));
    }
    op.getOperation()(stack);
    if (stack.at(0).isTensorList()) laid.results = stack[0].toTensorVector();
    else laid.results = {stack[0].toTensor()};
    return laid;
  } catch (const std::exception&) { return std::nullopt; }
}

std::optional<bool> Evaluator::copies_in_eager(const torch::jit::Operator& op, const std::vector<NamedItem>& arguments) {
  const auto laid = lay_out(op, arguments);
  return laid ? std::optional(!laid->results.at(0).is_alias_of(laid->self)) : std::nullopt;
}

void Evaluator::place_views(const torch::jit::Operator& op, const std::vector<NamedItem>& arguments, const std::vector<Item>& results) {
  const Tensor& self = *arguments[0].item.tensor();
  const auto is_view = [&](const Item& i) { return i.tensor() && i.tensor()->view && i.tensor()->view != self.view; };
  const auto is_own = [&](const Item& i) { return i.tensor() && !i.tensor()->view && i.tensor()->storage != self.storage; };
  const std::vector<Item>& made = results.size() == 1 && results[0].list() ? results[0].list()->items : results;
  if (std::none_of(made.begin(), made.end(), [&](const Item& i) { return is_view(i) || is_own(i); })) return;
  const auto laid = lay_out(op, arguments);
  if (!laid) return;  // nothing is known then
  const Placement base = *placement_of(self);
  for (size_t i = 0; i < made.size() && i < laid->results.size(); ++i) {
    const at::Tensor& t = laid->results[i];
    if (!made[i].tensor() || t.sizes().vec() != made[i].tensor()->type().shape.sizes()) continue;
    const bool copied = base.copied || !t.is_alias_of(laid->self);
    const Placement place{.strides = t.strides().vec(), .offset = copied ? 0 : base.offset + t.storage_offset(), .copied = copied};
    if (is_view(made[i])) made[i].tensor()->view->placement = place;
    else if (is_own(made[i])) made[i].tensor()->storage->placement = Placement{.strides = place.strides};
  }
}

/// as_strided counts in the memory that the tensor lies in, whatever part of it the tensor is.
void Evaluator::aim_as_strided(std::vector<NamedItem>& arguments) {
  const Tensor self = *arguments[0].item.tensor();
  const auto place = placement_of(self);
  if (!place || place->copied || !self.storage->contents->type.shape.is_static()) {
    diagnostics_.unsupported("as-strided", "aten::as_strided reads by strides, and how PyTorch laid out the memory of this tensor is not known")
        .at(here())
        .help("use unfold, slices or reshape, or as_strided of a tensor that contiguous() has made");
    throw Stop{};
  }
  for (NamedItem& a : arguments)
    if (a.name == "storage_offset" && a.item.is_none()) a.item = c10::IValue(place->offset);
  arguments[0].item = Tensor{self.storage, nullptr};
}

bool Evaluator::run_layout_question(const std::string& name, const std::vector<Item>& in, std::vector<Item>& out) {
  if (name != "aten::is_contiguous" && name != "aten::stride" && name != "aten::storage_offset") return false;
  const Tensor& tensor = *in[0].tensor();
  const bool default_format =
      in.size() < 2 || in[1].is_none() || (in[1].is_int() && in[1].integer() == static_cast<int64_t>(at::MemoryFormat::Contiguous));
  if (name == "aten::is_contiguous" && default_format && is_row_major(tensor)) return out = {c10::IValue(true)}, true;
  const auto place = placement_of(tensor);
  if (name == "aten::stride" && !place && is_row_major(tensor)) {
    const std::vector<Dim> strides = tensor.type().strides();
    const auto size_of_axis = [&](int64_t axis) { return size_item(strides.at(static_cast<size_t>(axis < 0 ? axis + tensor.type().rank() : axis))); };
    if (in.size() > 1 && in[1].is_int() && std::abs(in[1].integer()) < tensor.type().rank()) return out = {size_of_axis(in[1].integer())}, true;
    auto list = make<ListObject>();
    list->element = c10::IntType::get();
    for (const Dim& s : strides) list->items.push_back(size_item(s));
    if (in.size() < 2) return out = {std::move(list)}, true;
  }
  if (!place || (name == "aten::is_contiguous" && !default_format) || (name == "aten::storage_offset" && place->copied)) {
    diagnostics_.unsupported("unclear-strides", "{} of a tensor {}: how PyTorch laid out its memory is not known", name, tensor.type().to_string())
        .at(here())
        .help("call contiguous() without asking, which costs nothing in compiled code, or take sizes instead of strides");
    throw Stop{};
  }
  if (name == "aten::is_contiguous") return out = {c10::IValue(false)}, true;
  if (name == "aten::storage_offset") return out = {c10::IValue(place->offset)}, true;
  if (in.size() > 1) {
    const int64_t rank = tensor.type().rank(), axis = in[1].is_int() ? in[1].integer() + (in[1].integer() < 0 ? rank : 0) : -1;
    return out = {axis >= 0 && axis < rank ? Item(c10::IValue(place->strides[static_cast<size_t>(axis)])) : Item()}, true;
  }
  auto list = make<ListObject>();
  list->element = c10::IntType::get();
  for (const int64_t s : place->strides) list->items.emplace_back(c10::IValue(s));
  return out = {std::move(list)}, true;
}

}  // namespace mica::frontend
