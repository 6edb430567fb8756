// SPDX-License-Identifier: MIT
// Variables of all kinds, for tests/integration/dwarf.sh: compared with gdb at sampled instructions.
#include <cstdio>
#include <map>
#include <string>
#include <vector>
#include <memory>
namespace net {
struct Base { int kind = 3; virtual ~Base() {} virtual int run(int n) = 0; };
enum class Mode : unsigned char { Fast = 2, Slow = 7 };
template <typename T> struct Box { T value; int tag; T get(int k) const; };
template <typename T> T Box<T>::get(int k) const { T copy = value; for (int i = 0; i < k; i++) copy += tag; return copy; }
class Worker : public Base {
public:
	Worker(std::string n, Mode m) : name(n), mode(m), big(1L << 40) {}
	int run(int n) override;
	static int total;
private:
	std::string name; Mode mode; long big; Box<short> box { 5, 2 }; bool busy = true; unsigned low : 4, high : 12;
	std::vector<int> items;
};
int Worker::total = 11;
static int mix(int &acc, const Worker *w, double scale)
{
	acc += (int)(scale * 3);
	return acc + (w != nullptr);
}
int Worker::run(int n)
{
	int sum = 0;
	low = n & 15; high = n * 7 & 4095;
	for (int i = 0; i < n; i++) { items.push_back(i * n); sum += items[i]; }
	const int &last = items.back();
	sum += mix(sum, this, 1.5) + last;
	sum += box.get(n);
	std::map<int, std::string> names;
	names[sum] = name;
	for (auto &p : names) { total += p.first + (int)p.second.size(); }
	try { if (n == 3) throw sum; } catch (int e) { total += e; }
	return sum;
}
}
int main(int argc, char **argv)
{
	auto w = std::make_unique<net::Worker>(argv[0], net::Mode::Slow);
	int r = 0;
	for (int i = 1; i < 6 + argc; i++) r += w->run(i);
	std::printf("%d %d\n", r, net::Worker::total);
	return 0;
}
