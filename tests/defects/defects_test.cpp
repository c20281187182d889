// build/release/tests/bin/defects
// Each seeded defect breaks one small program, which is right without it. Whether the nets catch them is another question (docs/correctness.md);
// this says that there is something to catch.
#include <algorithm>
#include <set>
#include <sstream>

#include "judge.h"
#include "mica/driver/compile.h"
#include "mica/driver/numerics.h"
#include "mica/driver/so_model.h"
#include "mica/driver/tensor_file.h"

namespace mica::numerics {
namespace {

struct Broken {
  Defect defect;
  std::string_view inputs, weights, body;  ///< body: lines of forward, separated by "; "
  std::string_view symbols = {};           ///< "x:S,- y:T,-": symbols of 1 to 64 in the place of axes
  const char* cpu = "x86-64-v3";           ///< eight lanes of f32, so that the sizes below mean the same everywhere
};
void PrintTo(const Broken& b, std::ostream* out) { *out << all_defects()[static_cast<size_t>(b.defect) - 1].name; }

constexpr Broken broken_programs[] = {
    {Defect::unbind_write, "x=f32[2, 3]", "", "y = x * 2; torch.unbind(y)[1].add_(5); return y"},
    {Defect::stale_transpose, "x=f32[2, 3]", "", "y = x * 2; z = y.transpose(0, 1); y.add_(1); return z"},
    {Defect::clone_aliases, "x=f32[2, 3]", "", "y = x * 2; z = y.clone(); z.add_(1); return y * z"},
    {Defect::unsqueeze_negative, "x=f32[3, 3], y=f32[3, 3, 3]", "", "return x.unsqueeze(-1) + y"},
    {Defect::group_bias, "x=f32[1, 4, 5, 5]", "w=f32[4, 2, 3, 3], b=f32[4]", "return torch.conv2d(x, w, b, [1, 1], [0, 0], [1, 1], 2)"},
    {Defect::merged_number, "x=f32[5]", "", "if bool(x.sum() > 99):;   q = 2.0; else:;   q = 3.0; return x * q"},
    {Defect::floor_division, "x=i64[9] in -9..9, y=i64[9] in 2..5", "", "return torch.floor_divide(x, y)"},
    {Defect::window_count, "x=f32[1, 2, 6, 6]", "", "return torch.avg_pool2d(x, [3, 3], [2, 2], [1, 1], False, False)"},
    {Defect::pool_padding, "x=f32[1, 2, 6, 6] in -3..-1", "", "return torch.max_pool2d(x, [3, 3], [2, 2], [1, 1], [1, 1])"},
    {Defect::norm_eps, "x=f32[4, 16] in -0.1..0.1", "", "return torch.layer_norm(x, [16], None, None, 1e-5)"},
    {Defect::gelu_form, "x=f32[4, 7]", "", "return torch.gelu(x, approximate=\"tanh\")"},
    {Defect::broadcast_rank, "x=f32[2, 2, 2, 2, 2], y=f32[2]", "", "return x + y"},
    {Defect::integer_identity, "x=i64[3, 5] in -9..-2", "", "return torch.amax(x, [1])"},
    {Defect::promotion_pair, "x=u8[5] in 0..200, y=i32[5] in -999..999", "", "return x + y"},
    {Defect::rank_zero, "x=i32[5] in 0..9, y=i64[] in 0..9", "", "return x + y"},
    {Defect::symbol_rounding, "x=f32[10]", "", "return x[::2] * 2", "x:S"},
    {Defect::permute_order, "x=f32[2, 2, 2, 2]", "", "y = x.permute(1, 2, 3, 0).permute(0, 2, 1, 3); return y * 1.5"},
    {Defect::slice_step, "x=f32[20]", "", "y = x[::3]; return y[2:] * 1.5"},
    {Defect::cast_pair, "x=f32[5] in -9..9", "", "return x.to(dtype=3).to(dtype=6) * 1.5"},
    {Defect::merged_axis, "x=f32[4, 4]", "", "return torch.softmax(x, 0) - torch.softmax(x, 1)"},
    {Defect::row_tail, "x=f32[4, 13] in -9..-2", "", "return torch.amax(x, [1])"},
    {Defect::unrolled_maximum, "x=f32[4, 32]", "", "return torch.amax(x, [1])"},
    {Defect::early_reuse, "x=f32[16, 16]", "", "a = torch.softmax(x, 1); b = torch.softmax(a.t(), 1); return torch.softmax(b.t(), 1)"},
    {Defect::lost_barrier, "x=f32[96, 64]", "", "a = torch.softmax(x, 1); b = torch.softmax(a.t(), 1); return torch.softmax(b.t(), 1)"},
    {Defect::dilation_axis, "x=f32[1, 8, 9, 9]", "w=f32[16, 8, 3, 3]", "return torch.conv2d(torch.relu(x), w, None, [1, 1], [2, 2], [2, 2])"},
    {Defect::upper_bound, "x=f32[1, 2, 5, 5]", "", "return torch.avg_pool2d(x, [3, 3], [1, 1], [1, 1])"},
    {Defect::carried_swap, "x=f32[9], k=i64[] in 3..4", "", "a = x * 1.5; b = x - 2; for i in range(int(k)):;   a, b = b, a; return a - b"},
    {Defect::loop_life, "x=f32[16, 16], k=i64[] in 3..4", "",
     "a = torch.softmax(x, 1); z = x; for i in range(int(k)):;   b = torch.softmax(z.t() + a, 1);   c = torch.softmax(b.t(), 1);   z = "
     "torch.softmax(c.t(), 1); "
     "return z"},
    {Defect::slot_size, "x=f32[64, 4], y=f32[1, 16]", "",
     "p = torch.softmax(y, 1); q = torch.softmax(p.t(), 0); s = torch.softmax(q.t(), 1).sum(); a = torch.softmax(x + s, 1); b = torch.softmax(a.t(), "
     "1); "
     "return torch.softmax(b.t(), 1) + a",
     "x:S,- y:T,-"},
    {Defect::state_order, "x=f32[9]", "w=f32[9]", "n = w * 0.5 + x; m = torch.softmax(w * x, 0); w.copy_(n); return m"},
    {Defect::unsigned_compare, "x=u8[40] in 0..256, y=u8[40] in 0..256", "", "return x < y"},
    {Defect::strided_load, "x=f32[64]", "", "return x[::2] * 1.5"},
    {Defect::rounding_cast, "x=f32[9] in -9..9", "", "return x.to(dtype=4)"},
    {Defect::task_split, "x=f32[4, 33]", "", "return torch.softmax(x, 1)"},
    {Defect::trip_count, "x=f32[9], k=i64[] in 3..4", "", "z = x; for i in range(int(k)):;   z = z * 1.5; return z"},
    {Defect::symbol_swap, "x=f32[2, 8], y=f32[60, 8]", "", "return torch.softmax(x, 1), torch.softmax(y, 1)", "x:S,- y:T,-"},
    {Defect::empty_tensor, "x=f32[0, 3]", "", "return x * 2"},
};

class Defects : public Judged, public testing::WithParamInterface<Broken> {
 protected:
  void SetUp() override {
    const auto inputs = parse_sample_inputs(GetParam().inputs, diagnostics), weights = parse_sample_inputs(GetParam().weights, diagnostics);
    ASSERT_TRUE(inputs && weights) << diagnostics.to_string();
    judge_program(*inputs, *weights, GetParam().body, "defect", 11);
  }

  /// The inputs with the symbols that stand for their axes.
  LoadOptions symbolic_options() const {
    LoadOptions load = options_;
    std::istringstream words{std::string(GetParam().symbols)};
    for (std::string word; words >> word;) {
      InputSpec& input = *std::ranges::find(load.inputs, word.substr(0, word.find(':')), &InputSpec::name);
      std::istringstream axes(word.substr(word.find(':') + 1));
      for (std::string axis; std::getline(axes, axis, ',');) {
        input.symbols.push_back(axis == "-" ? "" : axis);
        if (axis != "-") load.symbols.push_back({axis, 1, 64, {}});
      }
    }
    return load;
  }

  /// Why the compiled program is not right; empty when it is. Any number of threads has to give the same bits.
  std::string fault(Defect chosen) {
    Diagnostics told;
    Options options;
    options.model = file_;
    options.output = std::filesystem::path(file_).replace_extension(".so");
    options.load = symbolic_options();
    if (!resolve_symbols(options.load, told)) return told.to_string();
    options.cpu = GetParam().cpu;
    options.debug_defect = chosen;
    if (!compile(options, told)) return told.to_string();
    std::string why;
    // What threads do to each other does not show in every run.
    for (int run = 0; run < 20 && why.empty(); ++run) {
      const int threads = run ? 3 : 1;
      auto model = SoModel::load(options.output, {.threads = threads, .copy_weights = false}, told);
      if (!model) return told.to_string();
      const auto outputs = model->run(raw_, told);
      if (!outputs) return told.to_string();
      for (size_t i = 0; i < outputs->size(); ++i) {
        const OutputVerdict v = judge_output("output", (*outputs)[i], eager_[i], exact_[i], false);
        if (!v.pass) why = fmt::format("{} threads: {}", threads, v.reason);
      }
    }
    std::filesystem::remove(options.output);
    return why;
  }
};

TEST_P(Defects, Broken) {
  EXPECT_EQ(fault(Defect::none), "");
  const std::string why = fault(GetParam().defect);
  EXPECT_NE(why, "");
  std::cout << why << "\n";
}

INSTANTIATE_TEST_SUITE_P(seeded, Defects, testing::ValuesIn(broken_programs), [](const auto& info) {
  std::string name(all_defects()[static_cast<size_t>(info.param.defect) - 1].name);
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
});

TEST(DefectTable, EveryDefectHasAProgram) {
  std::set<Defect> shown;
  for (const Broken& b : broken_programs) shown.insert(b.defect);
  EXPECT_EQ(shown.size(), all_defects().size());
}

TEST(DefectTable, ByNameAndNumber) {
  EXPECT_EQ(find_defect("norm-eps"), Defect::norm_eps);
  EXPECT_EQ(find_defect("1"), Defect::unbind_write);
  EXPECT_FALSE(find_defect("0"));
  EXPECT_FALSE(find_defect("norm"));
}

}  // namespace
}  // namespace mica::numerics
