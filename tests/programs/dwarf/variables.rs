// SPDX-License-Identifier: MIT
// Variables of all kinds, for tests/integration/dwarf.sh: compared with gdb at sampled instructions.
use std::collections::HashMap;
#[derive(Clone, Copy, PartialEq)]
enum Mode { Fast, Slow(u32) }
struct Point { x: i32, y: i64, live: bool, c: char }
struct Conn<'a> { id: u16, name: &'a str, p: Point, mode: Mode, t: (u8, i16) }
#[inline(never)]
fn mix(a: i32, b: &Point, f: f64) -> i32 { let k = a.wrapping_mul(3); let z = k + b.x; if b.live { z + f as i32 } else { k } }
impl<'a> Conn<'a> {
    #[inline(never)]
    fn handle(&mut self, n: usize) -> i64 {
        let mut sum: i64 = 0;
        for i in 0..n { let sq = (i * i) as i64; sum += sq + self.p.y; }
        let m = mix(n as i32, &self.p, 2.5);
        self.id = self.id.wrapping_add(m as u16);
        if let Mode::Slow(v) = self.mode { sum += v as i64; }
        sum + m as i64 + self.name.len() as i64
    }
}
fn main() {
    let name = std::env::args().next().unwrap();
    let mut c = Conn { id: 7, name: &name, p: Point { x: 4, y: 9, live: true, c: 'q' }, mode: Mode::Slow(3), t: (1, -2) };
    let mut counts: HashMap<i64, usize> = HashMap::new();
    for i in 1..8usize { let r = c.handle(i); *counts.entry(r).or_insert(0) += i; }
    println!("{} {} {} {}", counts.len(), c.id, c.p.c, c.t.1);
}
