// SPDX-License-Identifier: MIT
//! A map from strings: nodes hold what the keys below them have in common.

#[derive(Debug)]
struct Node<V> {
    label: String,
    value: Option<V>,
    children: Vec<Node<V>>,
}

#[derive(Debug)]
pub struct Tree<V> {
    root: Node<V>,
    len: usize,
}

impl<V> Default for Tree<V> {
    fn default() -> Self {
        Tree { root: Node { label: String::new(), value: None, children: Vec::new() }, len: 0 }
    }
}

fn common(a: &str, b: &str) -> usize {
    a.char_indices().zip(b.chars()).find(|((_, x), y)| x != y).map_or_else(|| a.len().min(b.len()), |((at, _), _)| at)
}

impl<V> Node<V> {
    fn insert(&mut self, key: &str, value: V) -> Option<V> {
        if key.is_empty() {
            return self.value.replace(value);
        }
        for child in &mut self.children {
            let shared = common(&child.label, key);
            if shared == 0 {
                continue;
            }
            if shared < child.label.len() {
                child.split(shared);
            }
            return child.insert(&key[shared..], value);
        }
        self.children.push(Node { label: key.to_string(), value: Some(value), children: Vec::new() });
        self.children.sort_by(|a, b| a.label.cmp(&b.label));
        None
    }

    fn split(&mut self, at: usize) {
        let rest = self.label.split_off(at);
        let lower = Node { label: rest, value: self.value.take(), children: std::mem::take(&mut self.children) };
        self.children.push(lower);
    }

    fn find(&self, key: &str) -> Option<&V> {
        if key.is_empty() {
            return self.value.as_ref();
        }
        self.children.iter().find_map(|child| key.strip_prefix(child.label.as_str()).map(|rest| child.find(rest)))?
    }

    fn collect<'a>(&'a self, prefix: &mut String, out: &mut Vec<(String, &'a V)>) {
        prefix.push_str(&self.label);
        if let Some(value) = &self.value {
            out.push((prefix.clone(), value));
        }
        for child in &self.children {
            child.collect(prefix, out);
        }
        prefix.truncate(prefix.len() - self.label.len());
    }
}

impl<V> Tree<V> {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn insert(&mut self, key: &str, value: V) -> Option<V> {
        let old = self.root.insert(key, value);
        self.len += usize::from(old.is_none());
        old
    }

    pub fn get(&self, key: &str) -> Option<&V> {
        self.root.find(key)
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// All keys and values, sorted.
    pub fn entries(&self) -> Vec<(String, &V)> {
        let mut out = Vec::new();
        self.root.collect(&mut String::new(), &mut out);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn random(seed: &mut u64) -> u64 {
        *seed ^= *seed << 13;
        *seed ^= *seed >> 7;
        *seed ^= *seed << 17;
        *seed
    }

    #[test]
    fn empty() {
        let tree: Tree<i32> = Tree::new();
        assert!(tree.is_empty());
        assert_eq!(tree.get("x"), None);
        assert_eq!(tree.entries(), vec![]);
    }

    #[test]
    fn splits() {
        let mut tree = Tree::new();
        for (i, key) in ["romane", "romanus", "romulus", "rubens", "ruber", "rubicon", "rubicundus", ""].iter().enumerate() {
            assert_eq!(tree.insert(key, i), None);
        }
        assert_eq!(tree.len(), 8);
        assert_eq!(tree.get("rubicon"), Some(&5));
        assert_eq!(tree.get(""), Some(&7));
        assert_eq!(tree.get("rub"), None);
        assert_eq!(tree.insert("romane", 70), Some(0));
        assert_eq!(tree.get("romane"), Some(&70));
    }

    #[test]
    fn letters_of_several_bytes() {
        let mut tree = Tree::new();
        tree.insert("größe", 1);
        tree.insert("grün", 2);
        tree.insert("grö", 3);
        assert_eq!(tree.entries(), vec![("grö".to_string(), &3), ("größe".to_string(), &1), ("grün".to_string(), &2)]);
    }

    #[test]
    fn like_a_sorted_map() {
        let mut seed = 88172645463325252;
        let mut tree = Tree::new();
        let mut map = BTreeMap::new();
        for _ in 0..3000 {
            let key: String = (0..random(&mut seed) % 6).map(|_| (b'a' + (random(&mut seed) % 4) as u8) as char).collect();
            let value = random(&mut seed) % 1000;
            assert_eq!(tree.insert(&key, value), map.insert(key, value));
        }
        assert_eq!(tree.len(), map.len());
        assert_eq!(tree.entries(), map.iter().map(|(key, value)| (key.clone(), value)).collect::<Vec<_>>());
    }
}
