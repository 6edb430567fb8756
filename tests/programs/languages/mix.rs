// SPDX-License-Identifier: MIT
//! What Rust compilers make code for: traits, closures, iterators, strings, threads, and panics that unwind through functions that are
//! probed and are caught. Usage: mix [ROUNDS]; as tests/programs/classes.
use std::collections::BTreeMap;
use std::panic;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;

static ALIVE: AtomicU64 = AtomicU64::new(0);
static COUNTS: [AtomicU64; 4] = [AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0)];
static NAMES: [&str; 4] = ["mix_deep", "mix_parse", "mix_visit", "mix_hash"];
static STOPPING: AtomicBool = AtomicBool::new(false);

fn count(which: usize) {
    COUNTS[which].fetch_add(1, Ordering::Relaxed);
}

/// Counts itself; every one must be dropped, also by a panic.
struct Guard;

impl Guard {
    fn new() -> Guard {
        ALIVE.fetch_add(1, Ordering::SeqCst);
        Guard
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        ALIVE.fetch_sub(1, Ordering::SeqCst);
    }
}

trait Visitor {
    fn visit(&mut self, value: u64) -> bool;
}

struct Limited {
    sum: u64,
    left: u32,
}

impl Visitor for Limited {
    fn visit(&mut self, value: u64) -> bool {
        self.sum = self.sum.wrapping_mul(31).wrapping_add(value);
        self.left -= 1;
        self.left > 0
    }
}

#[no_mangle]
#[inline(never)]
extern "Rust" fn mix_visit(visitor: &mut dyn Visitor, from: u64) -> u64 {
    count(2);
    (from..).take_while(|value| visitor.visit(*value)).count() as u64
}

#[no_mangle]
#[inline(never)]
extern "Rust" fn mix_hash(text: &str) -> u64 {
    count(3);
    text.bytes().fold(14695981039346656037, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(1099511628211))
}

#[no_mangle]
#[inline(never)]
extern "Rust" fn mix_parse(text: &str) -> Result<i64, String> {
    count(1);
    text.trim().parse::<i64>().map_err(|error| format!("{text:?}: {error}"))
}

#[no_mangle]
#[inline(never)]
extern "Rust" fn mix_deep(depth: u64, value: u64) -> u64 {
    count(0);
    let _guard = Guard::new();
    if depth == 0 {
        if value % 3 == 0 {
            panic::panic_any(value);
        }
        return value;
    }
    std::hint::black_box(mix_deep(depth - 1, value)) + 1
}

fn round(n: u64) -> u64 {
    let mut sum = 0u64;
    for value in n..n + 6 {
        sum = sum.wrapping_mul(7).wrapping_add(match panic::catch_unwind(|| mix_deep(20, value)) {
            Ok(result) => result,
            Err(thrown) => *thrown.downcast_ref::<u64>().expect("a number was thrown") + 1000,
        });
        assert_eq!(ALIVE.load(Ordering::SeqCst), 0, "guards were not dropped");
    }
    for text in ["12", " -7 ", "x1", ""] {
        sum = sum.wrapping_mul(7).wrapping_add(match mix_parse(text) {
            Ok(number) => number as u64,
            Err(why) => mix_hash(&why),
        });
    }
    let mut limited = Limited { sum: n, left: 10 };
    sum = sum.wrapping_add(mix_visit(&mut limited, n)).wrapping_add(limited.sum);
    let mut words: BTreeMap<String, usize> = BTreeMap::new();
    for i in 0..20 {
        *words.entry(format!("word {}", (n + i * i) % 9)).or_default() += 1;
    }
    words.iter().fold(sum, |sum, (word, times)| sum.wrapping_mul(31).wrapping_add(mix_hash(word) ^ *times as u64))
}

extern "C" fn on_term(_: i32) {
    STOPPING.store(true, Ordering::SeqCst);
}

extern "C" {
    fn signal(number: i32, handler: extern "C" fn(i32)) -> usize;
}

fn main() {
    let rounds: Option<u64> = std::env::args().nth(1).map(|text| text.parse().expect("ROUNDS"));
    let mut checksum = 0u64;

    unsafe { signal(15, on_term) };
    panic::set_hook(Box::new(|_| {}));
    println!("{}", std::process::id());
    let (to_worker, numbers) = mpsc::channel::<u64>();
    let (to_main, answers) = mpsc::channel::<u64>();
    let worker = thread::spawn(move || {
        for n in numbers {
            to_main.send(mix_hash(&n.to_string())).expect("the main thread is there");
        }
    });
    let mut n = 0;
    while rounds.map_or(true, |end| n < end) && !STOPPING.load(Ordering::SeqCst) {
        to_worker.send(n).expect("the worker is there");
        checksum = checksum.wrapping_mul(31).wrapping_add(round(n)) ^ answers.recv().expect("an answer");
        n += 1;
    }
    drop(to_worker);
    worker.join().expect("the worker ended well");
    println!("checksum {checksum:x}");
    for (name, count) in NAMES.iter().zip(&COUNTS) {
        println!("{name} {}", count.load(Ordering::Relaxed));
    }
    println!("EXIT-SUCCESS");
}
