//! No modules with the same parent use each other in a cycle, neither in the product nor in tests.
//!
//! Uses between a module and those below it are not counted: they are one module in several files.
//! Tests beside a file count as a part of it only among themselves.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    modules::{Modules, Use},
    report,
    sources::{self, Source},
};

/// Who uses whom, and the file that says so.
type Graph = BTreeMap<String, BTreeMap<String, String>>;

#[test]
fn modules_do_not_use_each_other_in_cycles() {
    let sources = sources::all();
    let roots: BTreeSet<&str> = sources.iter().filter_map(crate_root).collect();
    assert!(roots.len() > 30, "tidy found {} crates: it looks in the wrong place", roots.len());
    let mut complaints = Vec::new();
    for root in roots {
        let modules = Modules::read(root, &sources);
        for (parent, graph) in siblings(&modules.uses()) {
            if let Some(cycle) = cycle(&graph) {
                complaints.push(format!(
                    "{root}: {}: a cycle; move what both ends need into a module below them, or pass it down as an argument:\n  {}",
                    [&[parent], &cycle[..]].concat().join(" → "),
                    evidence(&graph, &cycle).join("\n  ")
                ));
            }
        }
    }
    report(complaints);
}

/// The folder of a library or program.
fn crate_root(source: &Source) -> Option<&str> {
    source.path.strip_suffix("/lib.rs").or_else(|| source.path.strip_suffix("/main.rs"))
}

/// For each parent, which of its children use which others.
fn siblings(uses: &[Use]) -> BTreeMap<String, Graph> {
    let mut graphs = BTreeMap::<String, Graph>::new();
    for one in uses {
        let shared = one.from.iter().zip(&one.to).take_while(|(from, to)| from == to).count();
        let (Some(from), Some(to)) = (one.from.get(shared), one.to.get(shared)) else { continue };
        // Tests may name whatever they test with.
        if one.from[shared..].iter().any(|part| part == "tests") {
            continue;
        }
        let parent = one.from[..shared].join("::");
        let used = graphs.entry(parent).or_default().entry(from.clone()).or_default();
        used.entry(to.clone()).or_insert_with(|| one.evidence.clone());
    }
    graphs
}

/// A path that leads back to its start.
fn cycle(graph: &Graph) -> Option<Vec<String>> {
    graph.keys().find_map(|start| path(graph, start, start, &mut BTreeSet::new()))
}

fn path(graph: &Graph, from: &str, to: &str, seen: &mut BTreeSet<String>) -> Option<Vec<String>> {
    for next in graph.get(from).into_iter().flat_map(BTreeMap::keys) {
        if next == to {
            return Some(vec![from.to_owned(), to.to_owned()]);
        }
        if seen.insert(next.clone())
            && let Some(mut rest) = path(graph, next, to, seen)
        {
            rest.insert(0, from.to_owned());
            return Some(rest);
        }
    }
    None
}

fn evidence(graph: &Graph, cycle: &[String]) -> Vec<String> {
    cycle.windows(2).map(|pair| graph[&pair[0]][&pair[1]].clone()).collect()
}

#[test]
fn cycles_of_siblings_are_found_however_they_are_named() {
    let found = |files: &[(&str, &str)]| -> Vec<Vec<String>> {
        let source = |(path, text): &(&str, &str)| Source {
            path: format!("p/src/{path}.rs"),
            text: (*text).to_owned(),
            is_test: path.contains("tests"),
        };
        let sources: Vec<Source> = files.iter().map(source).collect();
        let graphs = siblings(&Modules::read("p/src", &sources).uses());
        graphs.values().filter_map(cycle).collect()
    };
    let cycle = [["b", "c", "b"].map(str::to_owned).to_vec()];
    let c = "use super::b::B;";
    for b in [
        "use super::c::C;",
        "use crate::a::{c::{self, C}, D};",
        "fn b(c: crate::a::c::C) {}",
        "use super::c; fn b() { c::f() }",
        "mod inner { use super::super::c::C; }",
        "use super::C as D;",
        "use super::*; struct B(C);",
    ] {
        assert_eq!(found(&[("a", "mod b; mod c; use c::C;"), ("a/b", b), ("a/c", c)]), cycle, "{b}");
    }
    // Below one of the two, and at the root.
    assert_eq!(
        found(&[("lib", ""), ("b", "use std::c;"), ("b/d", "use crate::c::C;"), ("c", "use crate::b::B;")]),
        cycle
    );
    // A shared dependency; a module and what is below it; another crate; tests.
    for (b, d) in [
        ("use super::d::D;", ""),
        ("use super::A;", ""),
        ("use c::C;", ""),
        ("use std::fs;\n#[cfg(test)]\nmod tests {\n    use super::super::c::C;\n}", ""),
    ] {
        assert_eq!(
            found(&[("a", "use b::B;"), ("a/b", b), ("a/c", "use super::{b::B, d::D};"), ("a/d", d)]),
            [[""; 0]; 0],
            "{b}"
        );
    }
    assert_eq!(found(&[("a", ""), ("a/tests", "use super::super::c::C;"), ("c", "use crate::a::A;")]), [[""; 0]; 0]);
}
