// Questions about tensors, which need no op: shapes and dtypes are known.
#include "import_families.h"

namespace mica {

namespace {

Imported size(ImportContext& ctx) {
  const Value x = ctx.tensor("self");
  if (!ctx.has("dim")) return {Dims(ctx.shape(x).dims())};
  const int64_t axis = ctx.axis_of("dim", x);
  if (!ctx.rank(x)) ctx.fail("axis-out-of-range", "a tensor of rank 0 has no sizes");
  return {ctx.shape(x)[axis]};
}
Imported dim(ImportContext& ctx) { return {ctx.rank(ctx.tensor("self"))}; }
Imported numel(ImportContext& ctx) { return {ctx.shape(ctx.tensor("self")).elements()}; }
Imported len(ImportContext& ctx) {
  const Value x = ctx.tensor(ctx.is_tensor("t") ? "t" : "self");
  if (!ctx.rank(x)) ctx.fail("len-of-scalar", "a tensor of rank 0 has no length");
  return {ctx.shape(x)[0]};
}
Value first_tensor(ImportContext& ctx) {
  for (const ImportArg& a : ctx.args) {
    if (ctx.is_tensor(a.name)) return ctx.tensor(a.name);
  }
  ctx.fail("import-argument", "needs a tensor");
}
Imported dtype(ImportContext& ctx) { return {dtype_to_torch(ctx.type(first_tensor(ctx)).dtype)}; }
Imported is_floating(ImportContext& ctx) { return {is_float(ctx.type(first_tensor(ctx)).dtype)}; }
Imported is_signed_dtype(ImportContext& ctx) { return {is_signed(ctx.type(first_tensor(ctx)).dtype)}; }
Imported no(ImportContext&) { return {false}; }
Imported yes(ImportContext&) { return {true}; }
Imported element_size(ImportContext& ctx) { return {size_of(ctx.type(first_tensor(ctx)).dtype)}; }
Imported is_same_size(ImportContext& ctx) { return {ctx.shape(ctx.tensor("self")) == ctx.shape(ctx.tensor("other"))}; }
Imported device(ImportContext&) { return {std::string("cpu")}; }
Imported layout(ImportContext&) { return {int64_t{0}}; }

}  // namespace

std::span<const ImportEntry> import_meta() {
  static constexpr ImportEntry entries[] = {
      {"aten::size", size},
      {"prim::shape", size},
      {"aten::sym_size", size},
      {"aten::dim", dim},
      {"aten::ndimension", dim},
      {"aten::numel", numel},
      {"aten::len.Tensor", len},
      {"prim::dtype", dtype},
      {"aten::is_floating_point", is_floating},
      {"aten::is_signed", is_signed_dtype},
      {"aten::is_complex", no},
      {"prim::is_cuda", no},
      {"prim::is_sparse", no},
      {"prim::is_quantized", no},
      {"prim::is_nested", no},
      {"prim::is_mkldnn", no},
      {"prim::is_meta", no},
      {"prim::is_mps", no},
      {"prim::is_xpu", no},
      {"prim::is_cpu", yes},
      {"prim::requires_grad", no},
      {"aten::is_inference", no},
      {"aten::is_conj", no},
      {"aten::is_neg", no},
      {"aten::element_size", element_size},
      {"aten::is_same_size", is_same_size},
      {"prim::device", device},
      {"prim::layout", layout},
  };
  return entries;
}

}  // namespace mica
