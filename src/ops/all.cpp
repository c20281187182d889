// The families of ops. A new family is an include and a line here.
#include "mica/ops/activation.h"
#include "mica/ops/attention.h"
#include "mica/ops/compare.h"
#include "mica/ops/control.h"
#include "mica/ops/conv.h"
#include "mica/ops/detection.h"
#include "mica/ops/factory.h"
#include "mica/ops/index.h"
#include "mica/ops/math.h"
#include "mica/ops/matmul.h"
#include "mica/ops/measure.h"
#include "mica/ops/norm.h"
#include "mica/ops/pointwise.h"
#include "mica/ops/pool.h"
#include "mica/ops/reduce.h"
#include "mica/ops/relayout.h"
#include "mica/ops/resample.h"
#include "mica/ops/rnn.h"
#include "mica/ops/scan.h"
#include "mica/ops/softmax.h"
#include "mica/ops/sort.h"
#include "mica/ops/special.h"
#include "mica/ops/view.h"

namespace mica {

namespace {
template <class... T> void append(std::vector<const OpInfo*>& all, OpList<T...>) { (all.push_back(&op_info<T>), ...); }
}  // namespace

std::span<const OpInfo* const> all_ops() {
  static const std::vector<const OpInfo*> all = [] {
    std::vector<const OpInfo*> ops;
    const auto take = [&](auto family) { append(ops, family); };
    take(PointwiseOps{});
    take(MathOps{});
    take(SpecialOps{});
    take(ActivationOps{});
    take(CompareOps{});
    take(ReduceOps{});
    take(ScanOps{});
    take(SortOps{});
    take(MatmulOps{});
    take(ConvOps{});
    take(PoolOps{});
    take(NormOps{});
    take(SoftmaxOps{});
    take(AttentionOps{});
    take(RnnOps{});
    take(ViewOps{});
    take(RelayoutOps{});
    take(IndexOps{});
    take(FactoryOps{});
    take(ControlOps{});
    take(ResampleOps{});
    take(DetectionOps{});
    take(MeasureOps{});
    return ops;
  }();
  return all;
}

}  // namespace mica
