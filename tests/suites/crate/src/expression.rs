// SPDX-License-Identifier: MIT
//! Expressions in prefix notation: `(+ 1 (* 2 x))`.
use std::collections::HashMap;
use std::fmt;

#[derive(Debug, Clone, PartialEq)]
pub enum Expression {
    Number(i64),
    Name(String),
    Apply(char, Vec<Expression>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    Ended,
    Unexpected(char),
    Unknown(String),
    Overflow,
    Division,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Problem::Ended => write!(f, "the text ends too early"),
            Problem::Unexpected(c) => write!(f, "{c:?} was not expected"),
            Problem::Unknown(name) => write!(f, "nobody knows {name}"),
            Problem::Overflow => write!(f, "the result is too large"),
            Problem::Division => write!(f, "division by zero"),
        }
    }
}

struct Reader<'a> {
    rest: &'a str,
}

impl Reader<'_> {
    fn peek(&mut self) -> Option<char> {
        self.rest = self.rest.trim_start();
        self.rest.chars().next()
    }

    fn word(&mut self, keep: impl Fn(char) -> bool) -> String {
        let end = self.rest.find(|c| !keep(c)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        word.to_string()
    }

    fn list(&mut self) -> Result<Expression, Problem> {
        let operator = self.peek().ok_or(Problem::Ended)?;
        if !"+-*/".contains(operator) {
            return Err(Problem::Unexpected(operator));
        }
        self.rest = &self.rest[1..];
        let mut arguments = Vec::new();
        while self.peek().ok_or(Problem::Ended)? != ')' {
            arguments.push(self.expression()?);
        }
        self.rest = &self.rest[1..];
        Ok(Expression::Apply(operator, arguments))
    }

    fn expression(&mut self) -> Result<Expression, Problem> {
        match self.peek().ok_or(Problem::Ended)? {
            '(' => {
                self.rest = &self.rest[1..];
                self.list()
            }
            c if c.is_ascii_digit() => self.word(|c| c.is_ascii_digit()).parse().map(Expression::Number).map_err(|_| Problem::Overflow),
            c if c.is_alphabetic() => Ok(Expression::Name(self.word(char::is_alphanumeric))),
            c => Err(Problem::Unexpected(c)),
        }
    }
}

pub fn parse(text: &str) -> Result<Expression, Problem> {
    let mut reader = Reader { rest: text };
    let result = reader.expression()?;
    match reader.peek() {
        None => Ok(result),
        Some(c) => Err(Problem::Unexpected(c)),
    }
}

impl Expression {
    pub fn value(&self, names: &HashMap<&str, i64>) -> Result<i64, Problem> {
        match self {
            Expression::Number(number) => Ok(*number),
            Expression::Name(name) => names.get(name.as_str()).copied().ok_or_else(|| Problem::Unknown(name.clone())),
            Expression::Apply(operator, arguments) => {
                let mut values = arguments.iter().map(|argument| argument.value(names));
                let first = values.next().unwrap_or(Ok(0))?;
                values.try_fold(first, |sum, value| {
                    let value = value?;
                    match operator {
                        '+' => sum.checked_add(value),
                        '-' => sum.checked_sub(value),
                        '*' => sum.checked_mul(value),
                        _ if value == 0 => return Err(Problem::Division),
                        _ => sum.checked_div(value),
                    }
                    .ok_or(Problem::Overflow)
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> Result<i64, Problem> {
        parse(text)?.value(&HashMap::from([("x", 7), ("y", -2)]))
    }

    #[test]
    fn values() {
        assert_eq!(value("(+ 1 (* 2 x) y)"), Ok(13));
        assert_eq!(value("(- 10 1 2 3)"), Ok(4));
        assert_eq!(value(" ( / 100 x ) "), Ok(14));
        assert_eq!(value("(+)"), Ok(0));
    }

    #[test]
    fn problems() {
        for (text, problem) in [
            ("(+ 1", "the text ends too early"),
            ("(+ 1 2))", "')' was not expected"),
            ("(% 1 2)", "'%' was not expected"),
            ("(+ 1 z)", "nobody knows z"),
            ("(* 9999999999 9999999999)", "the result is too large"),
            ("99999999999999999999", "the result is too large"),
            ("(/ 1 (- x 7))", "division by zero"),
        ] {
            assert_eq!(value(text).unwrap_err().to_string(), problem, "{text}");
        }
    }

    #[test]
    #[should_panic(expected = "nobody knows w")]
    fn panics_unwind() {
        let deep = (0..200).fold("w".to_string(), |inner, i| format!("(+ {i} {inner})"));
        if let Err(problem) = value(&deep) {
            panic!("{problem}");
        }
    }

    #[test]
    fn caught_in_threads() {
        let threads: Vec<_> = (0..8)
            .map(|i| {
                std::thread::spawn(move || {
                    let text = format!("(* {i} x (- {i} 3))");
                    let result = value(&text).unwrap();
                    assert!(i != 5, "five");
                    result
                })
            })
            .collect();
        let ended: Vec<_> = threads.into_iter().map(|thread| thread.join().ok()).collect();
        assert_eq!(ended[4], Some(28));
        assert_eq!(ended[5], None);
        assert_eq!(ended.iter().flatten().count(), 7);
    }
}
