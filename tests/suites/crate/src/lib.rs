// SPDX-License-Identifier: MIT
//! A small crate for the tests: a map from strings by a tree of common prefixes, and an evaluator of expressions in prefix notation. Its
//! own tests are run under probes (tests/suites/run.sh); it uses nothing but the standard library.

pub mod expression;
pub mod tree;
