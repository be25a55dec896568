# SPDX-License-Identifier: MIT
# moves
. "$programs/lib.sh"
need gcc g++ clang++

cat > heap.cc <<'SRC'
#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <vector>
struct shape { virtual ~shape() = default; virtual double area() const = 0; };
template <int N> struct box : shape {
  std::map<std::string, std::vector<int>> what;
  double area() const override {
    double sum = N;
    for (const auto &[k, v] : what)
      for (int i : v) sum += i * static_cast<double>(k.size());
    return sum;
  }
};
template <int N> void fill(std::vector<std::unique_ptr<shape>> &all) {
  auto b = std::make_unique<box<N>>();
  for (int i = 0; i < N; i++) b->what[std::to_string(i)].push_back(i);
  all.push_back(std::move(b));
  if constexpr (N > 0) fill<N - 1>(all);
}
double total() {
  std::vector<std::unique_ptr<shape>> all;
  fill<40>(all);
  std::sort(all.begin(), all.end(),
            [](auto &a, auto &b) { return a->area() < b->area(); });
  double sum = 0;
  for (auto &s : all) sum += s->area();
  return sum;
}
SRC
cat > main.cc <<'SRC'
#include <cstdio>
double total();
int main() { std::printf("%.0f\n", total()); }
SRC
cat > plain.c <<'SRC'
#include <stdio.h>
#include <string.h>
#include <stdlib.h>
int count(const char *s) { return (int)strlen(s) + atoi(s); }
SRC

for compiler in g++ clang++; do
	$compiler -std=c++17 -O2 -g -c -o $compiler.o heap.cc
	$compiler -std=c++17 -O0 -c -o $compiler-main.o main.cc
	cksum $compiler.o $compiler-main.o
	$compiler -o $compiler.run $compiler.o $compiler-main.o
	./$compiler.run
done
gcc -O2 -Wall -c plain.c
cksum plain.o
gcc -O2 -flto -o lto -x c - <<'SRC'
int main(void) { return 7; }
SRC
./lto || echo "exit $?"
echo 'int main() { return nothing; }' > bad.cc
g++ -c bad.cc 2> /dev/null || echo "an error is one: $?"
