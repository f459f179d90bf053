//! The modules of a package do not import each other in cycles.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    imports::{module, paths_from, reexports},
    manifests, report, sources,
};

type Graph = BTreeMap<String, BTreeSet<String>>;

#[test]
fn modules_of_a_package_have_no_import_cycle() {
    let mut complaints = Vec::new();
    for manifest in manifests::all() {
        if let Some(cycle) = cycle(&graph(&manifest.folder)) {
            complaints.push(format!(
                "{}: {}: a cycle; move what both ends need into a module below them, or pass it down as an argument",
                manifest.folder,
                cycle.join(" → ")
            ));
        }
    }
    report(complaints);
}

fn graph(folder: &str) -> Graph {
    let reexports = reexports(folder);
    let mut graph = Graph::new();
    for source in sources::below(&format!("{folder}/src")) {
        let Some(own) = module(&source) else { continue };
        let paths = paths_from(&source.product_code(), "crate");
        let used = paths.iter().map(|path| reexports.get(&path[1]).unwrap_or(&path[1]).clone());
        let used: BTreeSet<String> = used.filter(|module| *module != own).collect();
        graph.entry(own).or_default().extend(used);
    }
    graph
}

/// A path that leads back to its start.
fn cycle(graph: &Graph) -> Option<Vec<String>> {
    graph.keys().find_map(|start| path(graph, start, start, &mut BTreeSet::new()))
}

fn path(graph: &Graph, from: &str, to: &str, seen: &mut BTreeSet<String>) -> Option<Vec<String>> {
    for next in graph.get(from).into_iter().flatten() {
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

#[test]
fn a_cycle_is_found_and_a_shared_dependency_is_none() {
    let graph = |edges: &[(&str, &str)]| {
        let mut graph = Graph::new();
        for (from, to) in edges {
            graph.entry((*from).to_owned()).or_default().insert((*to).to_owned());
        }
        graph
    };
    assert_eq!(cycle(&graph(&[("a", "b"), ("a", "c"), ("b", "c")])), None);
    let found = cycle(&graph(&[("a", "b"), ("b", "c"), ("c", "b")]));
    assert_eq!(found, Some(vec!["b".to_owned(), "c".to_owned(), "b".to_owned()]));
}
