#include "engine/plan.h"

#include <gtest/gtest.h>

#include <vector>

#include "engine/network.h"

namespace wbcq {
namespace {

using testing::Random;

struct Lifetime {
  size_t first;
  size_t last;
};

std::vector<Lifetime> lifetimes(const Model& model) {
  std::vector<Lifetime> lives(model.tensors().size(), {1, 0});
  for (size_t s = 0; s < model.steps().size(); ++s) {
    for (const size_t tensor : model.steps()[s].outputs) lives[tensor] = {s, s};
    for (const size_t tensor : model.steps()[s].inputs) lives[tensor].last = s;
  }
  return lives;
}

// The step that writes `output` may put it exactly over an input that dies there.
bool is_overwrite(const Model& model, size_t input, size_t output,
                  const std::vector<Lifetime>& lives) {
  const Step& step = model.steps()[lives[output].first];
  if (lives[input].last != lives[output].first) return false;
  for (size_t i = 0; i < step.inputs.size(); ++i) {
    if (step.inputs[i] == input && !step.op->may_overwrite(i)) return false;
  }
  return true;
}

TEST(ExecutionPlan, LiveTensorsShareNoMemory) {
  Random random;
  size_t overwrites = 0;
  for (int i = 0; i < 100; ++i) {
    const auto model = testing::load_or_fail(testing::RandomNetwork(random).bytes(), "scalar");
    const auto batch = static_cast<size_t>(random.uniform(1, 4));
    const ExecutionPlan plan(*model, batch, 1);
    const std::vector<Lifetime> lives = lifetimes(*model);
    const auto in_arena = [&](size_t t) {
      return model->place(t).kind == Place::Kind::kArena && lives[t].first <= lives[t].last;
    };
    for (size_t a = 0; a < lives.size(); ++a) {
      if (!in_arena(a)) continue;
      const size_t a_end = plan.offset(a) + model->tensors()[a].layout.bytes(batch);
      EXPECT_LE(a_end, plan.arena_bytes());
      EXPECT_EQ(plan.offset(a) % 64, 0u);
      for (size_t b = 0; b < lives.size(); ++b) {
        if (a == b || !in_arena(b) || lives[b].first < lives[a].first) continue;
        const size_t b_end = plan.offset(b) + model->tensors()[b].layout.bytes(batch);
        const bool overlap = plan.offset(a) < b_end && plan.offset(b) < a_end;
        if (!overlap || lives[b].first > lives[a].last) continue;
        EXPECT_TRUE(plan.offset(a) == plan.offset(b) && is_overwrite(*model, a, b, lives))
            << model->tensors()[a].name << " and " << model->tensors()[b].name;
        ++overwrites;
      }
    }
  }
  EXPECT_GT(overwrites, 0u);
}

// x -> conv -> y, and y = conv(x) + x: x is read at other places while y is written.
TEST(ExecutionPlan, InputThatIsAlsoTheResidualIsNotOverwritten) {
  const auto model = testing::load_or_fail(format::testing::SmallModel().bytes(), "scalar");
  const ExecutionPlan plan(*model, 2, 1);
  for (const Step& step : model->steps()) {
    if (step.op->name() != "residual_conv") continue;
    ASSERT_EQ(step.inputs[0], step.inputs[1]);
    EXPECT_NE(plan.offset(step.inputs[0]), plan.offset(step.outputs[0]));
  }
}

}  // namespace
}  // namespace wbcq
