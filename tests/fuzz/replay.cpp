// main() of a fuzz target where libFuzzer is not at hand: replays the files of a folder, then runs
// random changes of them. Blind (no coverage guides it) but deterministic: the same folder, seed and
// count give the same inputs. When the process dies, the input that killed it is left in a file.
//
// usage: TARGET FOLDER [--runs N] [--seconds S] [--seed K]
#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);
extern "C" void __sanitizer_set_death_callback(void (*callback)()) __attribute__((weak));

namespace {

std::string current;  // the input under way

void save_current() {
  if (std::FILE* file = std::fopen("crash-input", "wb")) {
    std::fwrite(current.data(), 1, current.size(), file);
    std::fclose(file);
    std::fprintf(stderr, "the input (%zu bytes) is in crash-input\n", current.size());
  }
}

void on_abort(int) {
  save_current();
  std::_Exit(1);
}

void run(const std::string& input) {
  current = input;
  LLVMFuzzerTestOneInput(reinterpret_cast<const std::uint8_t*>(current.data()), current.size());
}

std::vector<std::string> read_folder(const std::string& folder) {
  std::vector<std::filesystem::path> paths;
  for (const auto& item : std::filesystem::directory_iterator(folder)) paths.push_back(item.path());
  std::sort(paths.begin(), paths.end());
  std::vector<std::string> contents;
  for (const auto& path : paths) {
    std::ifstream file(path, std::ios::binary);
    contents.emplace_back(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
  }
  return contents;
}

class Mutator {
 public:
  Mutator(std::vector<std::string> seeds, std::uint64_t seed)
      : seeds_(std::move(seeds)), random_(seed) {}
  std::string next() {
    std::string input = any_seed();
    for (std::size_t i = below(4); i < 4; ++i) change(input);
    return input;
  }

 private:
  std::size_t below(std::size_t bound) { return bound == 0 ? 0 : random_() % bound; }
  const std::string& any_seed() { return seeds_[below(seeds_.size())]; }
  void change(std::string& input) {
    const std::size_t place = below(input.size()), length = 1 + below(16);
    switch (below(7)) {
      case 0:
        if (!input.empty()) input[place] = static_cast<char>(input[place] ^ (1 << below(8)));
        break;
      case 1:
        if (!input.empty()) input[place] = static_cast<char>(random_());
        break;
      case 2:
        input.erase(place, length);
        break;
      case 3:
        input.insert(place, input.substr(below(input.size()), length));
        break;
      case 4:
        input.insert(place, 1, static_cast<char>(random_()));
        break;
      case 5: {  // another seed's piece
        const std::string& other = any_seed();
        input.replace(place, length, other.substr(below(other.size()), length));
        break;
      }
      default:
        input.resize(place);
    }
  }

  std::vector<std::string> seeds_;
  std::mt19937_64 random_;
};

}  // namespace

int main(int n_arguments, char** arguments) {
  if (n_arguments < 2) {
    std::fprintf(stderr, "usage: %s FOLDER [--runs N] [--seconds S] [--seed K]\n", arguments[0]);
    return 2;
  }
  long runs = -1, seconds = -1, seed = 1;
  for (int i = 2; i + 1 < n_arguments; i += 2) {
    const std::string name = arguments[i];
    long& option = name == "--runs" ? runs : name == "--seconds" ? seconds : seed;
    option = std::strtol(arguments[i + 1], nullptr, 10);
  }
  std::signal(SIGABRT, on_abort);
  if (__sanitizer_set_death_callback != nullptr) __sanitizer_set_death_callback(save_current);

  const std::vector<std::string> seeds = read_folder(arguments[1]);
  if (seeds.empty()) {
    std::fprintf(stderr, "%s holds no file, expected seeds\n", arguments[1]);
    return 2;
  }
  for (const std::string& input : seeds) run(input);
  Mutator mutator(seeds, static_cast<std::uint64_t>(seed));
  long done = 0;
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(seconds);
  while (done != runs && (seconds < 0 ? runs >= 0 : std::chrono::steady_clock::now() < end)) {
    run(mutator.next());
    ++done;
  }
  std::printf("%zu seeds and %ld changed inputs, no failure\n", seeds.size(), done);
  return 0;
}
