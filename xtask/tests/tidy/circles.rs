//! No import circle: between the rooms of one package, arrows go one way.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    imports::{paths_from, reexports, room},
    manifests, report, sources,
};

type Graph = BTreeMap<String, BTreeSet<String>>;

#[test]
fn rooms_of_a_package_use_each_other_one_way_only() {
    let mut complaints = Vec::new();
    for manifest in manifests::all() {
        if let Some(circle) = circle(&graph(&manifest.folder)) {
            complaints.push(format!(
                "{}: {}: a circle; move what both ends need into a room below them, or let the upper one hand it down",
                manifest.folder,
                circle.join(" → ")
            ));
        }
    }
    report(complaints);
}

fn graph(folder: &str) -> Graph {
    let faces = reexports(folder);
    let mut graph = Graph::new();
    for source in sources::below(&format!("{folder}/src")) {
        let Some(own) = room(&source) else { continue };
        let paths = paths_from(&source.product_code(), "crate");
        let used = paths.iter().map(|path| faces.get(&path[1]).unwrap_or(&path[1]).clone()).filter(|room| *room != own);
        let used: BTreeSet<String> = used.collect();
        graph.entry(own).or_default().extend(used);
    }
    graph
}

/// A way that leads back to where it began.
fn circle(graph: &Graph) -> Option<Vec<String>> {
    graph.keys().find_map(|start| way(graph, start, start, &mut BTreeSet::new()))
}

fn way(graph: &Graph, from: &str, to: &str, seen: &mut BTreeSet<String>) -> Option<Vec<String>> {
    for next in graph.get(from).into_iter().flatten() {
        if next == to {
            return Some(vec![from.to_owned(), to.to_owned()]);
        }
        if seen.insert(next.clone())
            && let Some(mut rest) = way(graph, next, to, seen)
        {
            rest.insert(0, from.to_owned());
            return Some(rest);
        }
    }
    None
}

#[test]
fn a_circle_is_found_and_a_ladder_is_none() {
    let graph = |edges: &[(&str, &str)]| {
        let mut graph = Graph::new();
        for (from, to) in edges {
            graph.entry((*from).to_owned()).or_default().insert((*to).to_owned());
        }
        graph
    };
    assert_eq!(circle(&graph(&[("a", "b"), ("a", "c"), ("b", "c")])), None);
    let found = circle(&graph(&[("a", "b"), ("b", "c"), ("c", "b")]));
    assert_eq!(found, Some(vec!["b".to_owned(), "c".to_owned(), "b".to_owned()]));
}
