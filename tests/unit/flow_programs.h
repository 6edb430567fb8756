/* SPDX-License-Identifier: MIT */
/*
 * The programs that test_flow.c compiles: switches of several shapes, computed gotos, tail calls, fragments, functions
 * in assembly of which it cannot be proved how they are left, and one function whose places are led to in each way
 * there is.
 */
#ifndef TESTS_UNIT_FLOW_PROGRAMS_H
#define TESTS_UNIT_FLOW_PROGRAMS_H

static const char c_program[] =
    "#define NO __attribute__((noinline, noclone, noipa))\n"
    "#define NO2 __attribute__((noinline))\n"
    "#ifdef __clang__\n#undef NO\n#define NO NO2\n#endif\n"
    "volatile int sink;\n"
    "NO int g0(int a) { sink = a; return a * 3; }\n"
    "NO int g1(int a) { sink = a + 1; return a * 5; }\n"
    "NO int g2(int a) { sink = a + 2; return a * 7; }\n"
    "NO int table(int a, int b) { switch (a) { case 0: return g0(b) + 1; case 1: return g1(b) + 9; case 2: return "
    "g2(b);\n"
    "  case 3: return g0(b + 3) * 2; case 4: sink = 77; return g1(b - 1); case 5: return g2(b) - g0(b);\n"
    "  case 7: return g1(g1(b)); case 8: sink = 6; break; case 9: return g2(g0(b)); } return g0(b * 2) + 11; }\n"
    "NO int two_tables(int a, int b) { int sum = 0; for (int i = 0; i < b; i++) {\n"
    "  switch (a) { case 0: sum += g0(i); break; case 1: sum -= g1(i); break; case 2: sum ^= g2(i); break;\n"
    "    case 3: sum += g1(sum); break; case 4: sum *= g0(sum); break; case 5: sum |= g2(3); break; default: return "
    "sum; }\n"
    "  switch (sum & 15) { case 1: g0(1); break; case 2: g1(2); break; case 3: g2(3); break; case 4: g0(4); g1(4); "
    "break;\n"
    "    case 5: g1(5); break; case 6: g2(6); sum++; break; case 9: g0(9); break; }\n"
    "  a = (a + sum) & 7; } return sum; }\n"
    "NO int threaded(const unsigned char *p, int a) {\n"
    "  static const void *const labels[] = { &&stop, &&more, &&less, &&twice };\n"
    "  goto *labels[*p++ & 3]; more: a++; goto *labels[*p++ & 3]; less: a -= g0(a); goto *labels[*p++ & 3];\n"
    "  twice: a += a; goto *labels[*p++ & 3]; stop: return a; }\n"
    "struct ops { int (*first)(struct ops *); int (*second)(struct ops *, int); };\n"
    "struct ops *volatile kept;\n"
    "NO int virtual_tail(struct ops *o) { sink = 1; return o->second(o, 4); }\n"
    "NO int pointer_tail(int (*f)(int), int a) { return f(a); }\n"
    "NO int direct_tail(int a) { sink = a; return g0(a + 1); }\n"
    "NO int either(int a) { if (a > 3) return g0(a); sink = 3; return a; }\n"
    "__attribute__((cold)) NO2 void rare(int a) { sink = a; }\n"
    "NO int with_cold(int a) { if (__builtin_expect(a == 77, 0)) { rare(a); rare(a + 1); sink = g0(a); } return a + "
    "g1(a); }\n"
    "NO int with_cold2(int a) { if (__builtin_expect(a == 77, 0)) { rare(a); return g0(a) - 1; } return a + g1(a); }\n"
    "NO void never(void) { for (;;) sink++; }\n"
    "extern int asm_outer(int), asm_into(int), asm_falls(int), asm_pushes(int), asm_computes(int), asm_calls(int),\n"
    "  asm_thunked(int), asm_victim(int);\n"
    "int main(int c, char **v) { if (c > 100) { with_cold(c); with_cold2(c); virtual_tail(kept);\n"
    "  asm_outer(1); asm_into(1); asm_falls(1); asm_pushes(1); asm_computes(1); asm_calls(1); asm_thunked(1); "
    "asm_victim(1); never(); }\n"
    "  return table(c, 3) + two_tables(c, c) + threaded((const unsigned char *)v[0], c) + pointer_tail(g1, c) + "
    "direct_tail(c) +\n"
    "    either(c); }\n"
    "#define FUNCTION(name, body) __asm__(\".pushsection .text\\n.balign 16\\n.globl \" #name \"\\n.type \" #name "
    "\",@function\\n\" \\\n"
    "  #name \":\\n.cfi_startproc\\n\" body \".cfi_endproc\\n.size \" #name \",.-\" #name \"\\n.popsection\\n\");\n"
    "FUNCTION(asm_outer, \"test %edi,%edi\\n je inner\\n ret\\n .globl inner\\n .type inner,@function\\n inner: xor "
    "%eax,%eax\\n ret\\n\")\n"
    "FUNCTION(asm_victim, \"mov %edi,%eax\\n victim_middle: add $1,%eax\\n ret\\n\")\n"
    "FUNCTION(asm_into, \"mov $3,%eax\\n jmp victim_middle\\n\")\n"
    "FUNCTION(asm_falls, \"mov %edi,%eax\\n test %eax,%eax\\n je asm_falls\\n nop\\n\")\n"
    "FUNCTION(asm_behind, \"ret\\n\")\n"
    "FUNCTION(asm_pushes, \"lea asm_behind(%rip),%rax\\n push %rax\\n ret\\n\")\n"
    "FUNCTION(asm_computes, \"lea 1f(%rip),%rax\\n lea (%rax,%rdi,8),%rax\\n jmp *%rax\\n 1: ret\\n nop\\n ret\\n\")\n"
    "FUNCTION(asm_calls, \"call 1f\\n 1: pop %rax\\n ret\\n\")\n"
    "FUNCTION(asm_thunk, \"call 1f\\n 2: pause\\n lfence\\n jmp 2b\\n 1: mov %rax,(%rsp)\\n ret\\n\")\n"
    "FUNCTION(asm_thunked, \"mov %rdi,%rax\\n jmp asm_thunk\\n\")\n";

static const char targets_program[] =
    "#define FUNCTION(name, body) __asm__(\".pushsection .text\\n.balign 16\\n.globl \" #name \"\\n.type \" #name "
    "\",@function\\n\" \\\n"
    "  #name \":\\n.cfi_startproc\\n\" body \".cfi_endproc\\n.size \" #name \",.-\" #name \"\\n.popsection\\n\");\n"
    "FUNCTION(places, \"nop\\n test %edi,%edi\\n je at_branch\\n lea at_lea(%rip),%rax\\n call elsewhere\\n at_return: "
    "nop\\n\"\n"
    " \"nothing: mov $1,%eax\\n at_branch: nop\\n at_lea: nop\\n at_pointer: nop\\n at_label: ret\\n\")\n"
    "FUNCTION(elsewhere, \"ret\\n\")\n"
    "#ifdef FIXED\n#define A(name) \"$\" #name\n#else\n#define A(name) \"$77\"\n#endif\n"
    "FUNCTION(fixed, \"mov \" A(at_number) \",%eax\\n push \" A(at_push) \"\\n pop %rax\\n nop\\n at_number: nop\\n "
    "at_push: ret\\n\")\n"
    "__asm__(\".pushsection .text\\n.globl bare\\n.type bare,@function\\nbare: test %edi,%edi\\n je 1f\\n ret\\n1: jmp "
    "elsewhere\\n\"\n"
    "  \".size bare,.-bare\\n.popsection\\n\");\n"
    "extern char at_pointer[]; void *pointer = at_pointer;\n"
    "int main(void) { return 0; }\n";

static const char cxx_program[] =
    "#include <stdexcept>\n#include <string>\n#include <vector>\n"
    "struct base { virtual int run(int) = 0; virtual ~base() {} }; struct one : base { int run(int a) override; };\n"
    "__attribute__((noinline)) int one::run(int a) { if (a > 90) throw std::runtime_error(std::to_string(a)); return a "
    "+ 1; }\n"
    "__attribute__((noinline)) int catching(base *b, int a) { std::string kept(\"x\"); try { return b->run(a) + "
    "(int)kept.size(); }\n"
    "  catch (const std::runtime_error &e) { return e.what()[0]; } catch (int i) { return i; } }\n"
    "int main(int c, char **v) { one o; std::vector<std::string> s(v, v + c); return catching(&o, c + "
    "(int)s[0].size()); }\n";

static const char rust_program[] =
    "#[inline(never)] fn pick(n: usize, s: &str) -> String { match n { 0 => s.to_uppercase(), 1 => format!(\"{}{}\", "
    "n, s),\n"
    "  2 => s.repeat(3), 3 => String::new(), 4 => s.chars().rev().collect(), 5 => panic!(\"five\"), _ => s.into() } }\n"
    "fn main() { let a: Vec<String> = std::env::args().collect(); println!(\"{}\", pick(a.len(), &a[0])); }\n";

static const char go_program[] = "package main\nimport \"fmt\"\nfunc main() { fmt.Println(1) }\n";

#endif
