#include "engine/session.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <thread>
#include <vector>

#include "engine/network.h"

namespace wbcq {
namespace {

using testing::Floats;
using testing::Random;

std::unique_ptr<Session> make_session(std::shared_ptr<const Model> model, size_t threads) {
  auto session = Session::create(std::move(model), threads);
  EXPECT_TRUE(session.ok()) << session.status().message();
  return session.ok() ? std::move(session).value() : nullptr;
}

std::vector<Floats> run(Session& session, const std::vector<Floats>& inputs, size_t batch) {
  std::vector<Floats> outputs = testing::empty_outputs(session.model(), batch);
  const Status status = session.run(batch, testing::pointers(inputs), testing::pointers(outputs));
  EXPECT_TRUE(status.ok()) << status.message();
  return outputs;
}

// Shared memory, threads, chunks, ISAs and the choice of memory change nothing.
TEST(Session, EqualsStepByStepExecution) {
  Random random;
  for (int i = 0; i < 40; ++i) {
    SCOPED_TRACE(::testing::Message() << "network " << i);
    const auto bytes = testing::RandomNetwork(random).bytes();
    const auto scalar = testing::load_or_fail(bytes, "scalar");
    ASSERT_NE(scalar, nullptr);
    const auto batch =
        static_cast<size_t>(random.one_in(3) ? random.uniform(9, 20) : random.uniform(1, 4));
    const auto inputs = testing::random_inputs(random, *scalar, batch);
    const auto expected = testing::run_step_by_step(*scalar, inputs, batch);
    for (const Isa isa : supported_isas()) {
      for (const MemoryChoice memory : {MemoryChoice::kSpeed, MemoryChoice::kSmall}) {
        const auto model = testing::load_or_fail(bytes, isa_name(isa), memory);
        for (const size_t threads : {1, 2, 3}) {
          SCOPED_TRACE(::testing::Message() << isa_name(isa) << ", " << memory_name(memory) << ", "
                                            << threads << " threads, batch " << batch);
          const auto session = make_session(model, threads);
          EXPECT_EQ(run(*session, inputs, batch), expected);
          EXPECT_EQ(run(*session, inputs, batch), expected);
        }
      }
    }
    if (::testing::Test::HasFailure()) return;
  }
}

TEST(Session, AnyOrderOfBatchSizes) {
  Random random;
  for (int i = 0; i < 10; ++i) {
    const auto model = testing::load_or_fail(testing::RandomNetwork(random).bytes(), "");
    const auto inputs = testing::random_inputs(random, *model, 20);
    const auto expected = testing::run_step_by_step(*model, inputs, 20);
    const auto session = make_session(model, 2);
    for (const size_t batch : {2, 20, 0, 1, 8, 11, 2}) {
      const auto outputs = run(*session, inputs, batch);
      for (size_t o = 0; o < outputs.size(); ++o) {
        EXPECT_TRUE(std::equal(outputs[o].begin(), outputs[o].end(), expected[o].begin()))
            << "batch " << batch << ", output " << o;
      }
    }
  }
}

TEST(Session, SeveralOnOneModelAtOnce) {
  Random random;
  const auto model = testing::load_or_fail(testing::RandomNetwork(random).bytes(), "");
  const auto inputs = testing::random_inputs(random, *model, 3);
  const auto expected = testing::run_step_by_step(*model, inputs, 3);
  std::vector<int> failures(4);
  std::vector<std::thread> callers;
  for (size_t i = 0; i < failures.size(); ++i) {
    callers.emplace_back([&, i] {
      const auto session = make_session(model, 1 + i % 2);
      for (int repeat = 0; repeat < 10; ++repeat) {
        failures[i] += run(*session, inputs, 3) != expected;
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(failures, std::vector<int>(failures.size(), 0));
}

TEST(Session, OutlivesTheCallersModel) {
  Random random;
  auto model = testing::load_or_fail(testing::RandomNetwork(random).bytes(), "");
  const auto inputs = testing::random_inputs(random, *model, 1);
  const auto expected = testing::run_step_by_step(*model, inputs, 1);
  const auto session = make_session(model, 1);
  model.reset();
  EXPECT_EQ(run(*session, inputs, 1), expected);
}

TEST(Session, MemoryIsKnownBeforeRunning) {
  Random random;
  const auto model = testing::load_or_fail(testing::RandomNetwork(random).bytes(), "");
  const auto session = make_session(model, 2);
  EXPECT_EQ(session->memory(0).arena, 0u);
  const MemoryUse one = session->memory(1);
  EXPECT_EQ(one.packed_weights, model->packed_bytes());
  EXPECT_EQ(one.arena, ExecutionPlan(*model, 1, 2).arena_bytes());
  EXPECT_GE(session->memory(8).arena, one.arena);
  // Larger batches run in parts and need no more.
  EXPECT_EQ(session->memory(800).arena, session->memory(2 * Session::kMaxChunk).arena);
}

TEST(Session, ThreadsHavePicturesAndMemoryOfTheirOwn) {
  Random random;
  const auto bytes = testing::RandomNetwork(random).bytes();
  const auto model = testing::load_or_fail(bytes, "");
  const auto one = make_session(model, 1);
  const auto three = make_session(model, 3);
  const auto small = make_session(testing::load_or_fail(bytes, "", MemoryChoice::kSmall), 3);
  for (const size_t batch : {0, 1, 2, 3, 8, 9}) {
    EXPECT_EQ(one->own_pictures(batch), 0u);
    EXPECT_EQ(small->own_pictures(batch), 0u);
    EXPECT_EQ(three->own_pictures(batch), batch / 3);
  }
  const size_t alone = ExecutionPlan(*model, 2, 1).arena_bytes();
  EXPECT_EQ(three->memory(6).arena, 3 * alone);
  EXPECT_EQ(three->memory(8).arena, 3 * alone + ExecutionPlan(*model, 2, 3).arena_bytes());
}

TEST(Session, SmallMemoryIsThatOfOnePicture) {
  Random random;
  for (int i = 0; i < 10; ++i) {
    const auto bytes = testing::RandomNetwork(random).bytes();
    const auto small = make_session(testing::load_or_fail(bytes, "", MemoryChoice::kSmall), 1);
    const auto fast = make_session(testing::load_or_fail(bytes, ""), 1);
    EXPECT_EQ(small->model().memory(), MemoryChoice::kSmall);
    EXPECT_EQ(small->max_chunk(), 1u);
    EXPECT_EQ(small->memory(9).arena, small->memory(1).arena);
    EXPECT_LT(small->memory(8).arena, fast->memory(8).arena);
    EXPECT_LE(small->memory(1).packed_weights, fast->memory(1).packed_weights);
  }
}

TEST(Session, ProfileNamesEveryStep) {
  Random random;
  const auto model = testing::load_or_fail(testing::RandomNetwork(random).bytes(), "");
  const auto inputs = testing::random_inputs(random, *model, 9);
  for (const size_t threads : {1, 2, 12}) {
    const auto session = make_session(model, threads);
    const auto profile = session->profile(9, testing::pointers(inputs), 3);
    ASSERT_TRUE(profile.ok());
    ASSERT_EQ(profile.value().size(), model->steps().size());
    for (size_t i = 0; i < profile.value().size(); ++i) {
      const OpProfile& op = profile.value()[i];
      EXPECT_EQ(op.name, model->steps()[i].op->name());
      EXPECT_EQ(op.macs, 9 * model->steps()[i].op->cost().macs);
      EXPECT_GE(op.seconds, 0.0);
      EXPECT_FALSE(op.kernel.empty());
    }
  }
}

TEST(Session, RunsOneOperatorAgain) {
  Random random;
  const auto model = testing::load_or_fail(testing::RandomNetwork(random).bytes(), "");
  const auto session = make_session(model, 1);
  const auto inputs = testing::random_inputs(random, *model, 2);
  const auto expected = run(*session, inputs, 2);
  size_t ran = 0;
  for (size_t op = 0; op < model->steps().size(); ++op) ran += session->run_op(op, 2).ok();
  EXPECT_GT(ran, 0u);
  EXPECT_LT(ran, model->steps().size());  // the first one reads the caller's array
  EXPECT_EQ(session->run_op(0, 2).code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(session->run_op(model->steps().size(), 2).code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(session->run_op(1, 0).code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(session->run_op(1, Session::kMaxChunk + 1).code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(run(*session, inputs, 2), expected);
}

TEST(Session, RefusesWrongCounts) {
  Random random;
  const auto model = testing::load_or_fail(testing::RandomNetwork(random).bytes(), "");
  const auto session = make_session(model, 1);
  auto outputs = testing::empty_outputs(*model, 1);
  const Status inputs_status = session->run(1, {}, testing::pointers(outputs));
  EXPECT_EQ(inputs_status.code(), StatusCode::kInvalidArgument);
  const auto inputs = testing::random_inputs(random, *model, 1);
  const Status outputs_status = session->run(1, testing::pointers(inputs), {});
  EXPECT_EQ(outputs_status.code(), StatusCode::kInvalidArgument);
  EXPECT_FALSE(session->profile(1, {}, 1).ok());
}

TEST(Session, RefusesTooManyThreads) {
  Random random;
  const auto model = testing::load_or_fail(testing::RandomNetwork(random).bytes(), "");
  const auto session = Session::create(model, 1000000);
  ASSERT_FALSE(session.ok());
  EXPECT_EQ(session.status().code(), StatusCode::kInvalidArgument);
}

TEST(Model, RefusesDamagedFilesAndUnknownIsas) {
  Random random;
  auto bytes = testing::RandomNetwork(random).bytes();
  EXPECT_EQ(Model::from_bytes(bytes, {"abacus"}).status().code(), StatusCode::kInvalidArgument);
  bytes[bytes.size() / 2] ^= std::byte{1};
  EXPECT_EQ(Model::from_bytes(bytes, {}).status().code(), StatusCode::kInvalidFile);
  EXPECT_EQ(Model::open("/nonexistent/file.wbcq", {}).status().code(), StatusCode::kIo);
}

}  // namespace
}  // namespace wbcq
