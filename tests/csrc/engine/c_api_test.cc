#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <thread>

#include "engine/network.h"
#include "wbcq/wbcq.hpp"

namespace wbcq {
namespace {

using testing::Floats;
using testing::Random;

TEST(CApi, WrapperRunsAModel) {
  Random random;
  const auto bytes = testing::RandomNetwork(random).bytes();
  const auto reference = testing::load_or_fail(bytes, "");
  const auto inputs = testing::random_inputs(random, *reference, 3);

  const api::Model model(bytes.data(), bytes.size());
  EXPECT_EQ(model.isa(), isa_name(reference->isa()));
  EXPECT_EQ(model.metadata(), "{}");
  ASSERT_EQ(model.inputs().size(), reference->inputs().size());
  EXPECT_EQ(model.inputs()[0].shape, reference->inputs()[0].shape);
  EXPECT_EQ(model.outputs()[0].name, reference->outputs()[0].name);
  api::Session session(model, 2);
  EXPECT_EQ(session.threads(), 2u);
  EXPECT_GT(session.memory(3).arena, 0u);
  EXPECT_EQ(session.run(3, inputs), testing::run_step_by_step(*reference, inputs, 3));
  EXPECT_EQ(session.run(0, std::vector<Floats>(inputs.size())),
            testing::empty_outputs(*reference, 0));
}

TEST(CApi, SessionOutlivesItsModel) {
  Random random;
  const auto bytes = testing::RandomNetwork(random).bytes();
  wbcq_model* model = nullptr;
  ASSERT_EQ(wbcq_model_from_memory(bytes.data(), bytes.size(), nullptr, &model), WBCQ_OK);
  wbcq_session* session = nullptr;
  ASSERT_EQ(wbcq_session_create(model, 1, &session), WBCQ_OK);
  wbcq_model_free(model);
  EXPECT_EQ(wbcq_session_reserve(session, 2), WBCQ_OK);
  wbcq_session_free(session);
}

TEST(CApi, ErrorsHaveACodeAndAMessageOfTheirThread) {
  wbcq_model* model = nullptr;
  EXPECT_EQ(wbcq_model_open("/nonexistent/net.wbcq", nullptr, &model), WBCQ_IO);
  EXPECT_EQ(model, nullptr);
  EXPECT_NE(std::string(wbcq_last_error()).find("/nonexistent/net.wbcq"), std::string::npos);
  std::thread([] { EXPECT_STREQ(wbcq_last_error(), ""); }).join();
  EXPECT_EQ(wbcq_model_from_memory("junk", 4, nullptr, &model), WBCQ_INVALID_FILE);
  EXPECT_STRNE(wbcq_last_error(), "");
}

TEST(CApi, RefusesWrongArguments) {
  Random random;
  const auto bytes = testing::RandomNetwork(random).bytes();
  const api::Model model(bytes.data(), bytes.size());
  wbcq_io io;
  EXPECT_EQ(wbcq_model_input(model.get(), 99, &io), WBCQ_INVALID_ARGUMENT);
  EXPECT_EQ(wbcq_model_output(model.get(), 99, &io), WBCQ_INVALID_ARGUMENT);
  EXPECT_THROW(api::Model(bytes.data(), bytes.size(), "abacus"), api::Error);
  api::Session session(model, 1);
  EXPECT_THROW(session.run(1, std::vector<Floats>{}), api::Error);
  EXPECT_THROW(session.run(1, std::vector<Floats>(model.inputs().size())), api::Error);
}

TEST(CApi, LoadsWithOptions) {
  Random random;
  const auto bytes = testing::RandomNetwork(random).bytes();
  const api::Model fast(bytes.data(), bytes.size(), "scalar");
  const api::Model small(bytes.data(), bytes.size(), "scalar", WBCQ_MEMORY_SMALL);
  EXPECT_EQ(fast.memory(), WBCQ_MEMORY_SPEED);
  EXPECT_EQ(small.memory(), WBCQ_MEMORY_SMALL);
  EXPECT_EQ(small.isa(), "scalar");
  EXPECT_LT(api::Session(small, 1).memory(8).arena, api::Session(fast, 1).memory(8).arena);

  wbcq_model* model = nullptr;
  ASSERT_EQ(wbcq_model_from_memory_with(bytes.data(), bytes.size(), nullptr, &model), WBCQ_OK);
  EXPECT_EQ(wbcq_model_memory(model), WBCQ_MEMORY_SPEED);
  wbcq_model_free(model);
}

TEST(CApi, OptionsOfLaterVersionsAreReadIfTheyAreUnset) {
  Random random;
  const auto bytes = testing::RandomNetwork(random).bytes();
  struct Later {
    wbcq_load_options known = WBCQ_LOAD_OPTIONS_INIT;
    int64_t added = 0;
  } later;
  later.known.size = sizeof(later);
  const auto load = [&](const wbcq_load_options& options) {
    wbcq_model* model = nullptr;
    const wbcq_status status =
        wbcq_model_from_memory_with(bytes.data(), bytes.size(), &options, &model);
    EXPECT_EQ(model != nullptr, status == WBCQ_OK);
    wbcq_model_free(model);
    return status;
  };
  EXPECT_EQ(load(later.known), WBCQ_OK);
  later.added = 1;
  EXPECT_EQ(load(later.known), WBCQ_UNSUPPORTED);
  wbcq_load_options options = WBCQ_LOAD_OPTIONS_INIT;
  options.size = 4;
  EXPECT_EQ(load(options), WBCQ_INVALID_ARGUMENT);
  options = WBCQ_LOAD_OPTIONS_INIT;
  options.memory = 7;
  EXPECT_EQ(load(options), WBCQ_INVALID_ARGUMENT);
  EXPECT_NE(std::string(wbcq_last_error()).find("7"), std::string::npos);
  options = WBCQ_LOAD_OPTIONS_INIT;
  options.threads = -1;
  EXPECT_EQ(load(options), WBCQ_INVALID_ARGUMENT);
  EXPECT_NE(std::string(wbcq_last_error()).find("threads is -1"), std::string::npos);
  options.threads = 2;
  EXPECT_EQ(load(options), WBCQ_OK);
}

TEST(CApi, ChoicesOfKernels) {
  Random random;
  const auto bytes = testing::RandomNetwork(random).bytes();
  wbcq_load_options options = WBCQ_LOAD_OPTIONS_INIT;
  const auto load = [&](const char* op, const char* kernel) {
    const wbcq_choice choice = {op, kernel};
    options.choices = &choice;
    options.choice_count = 1;
    wbcq_model* model = nullptr;
    const wbcq_status status =
        wbcq_model_from_memory_with(bytes.data(), bytes.size(), &options, &model);
    wbcq_model_free(model);
    return status;
  };
  EXPECT_EQ(load("absent", "dense"), WBCQ_INVALID_ARGUMENT);
  EXPECT_NE(std::string(wbcq_last_error()).find("absent"), std::string::npos);
  // A caller that was compiled before there were choices.
  options.size = offsetof(wbcq_load_options, choices);
  EXPECT_EQ(load("absent", "dense"), WBCQ_OK);
}

TEST(CApi, VersionIsTheProjects) {
  int parts[3];
  char end = 0;
  EXPECT_EQ(std::sscanf(wbcq_version(), "%d.%d.%d%c", &parts[0], &parts[1], &parts[2], &end), 3);
}

}  // namespace
}  // namespace wbcq
