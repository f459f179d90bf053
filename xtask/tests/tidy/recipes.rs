//! CONTRIBUTING.md has a recipe for each everyday task, ARCHITECTURE.md a row, and the files that
//! they name exist.

use std::fs;

use super::{
    architecture::{exists, quoted},
    report,
    sources::root,
};

/// The tasks, by words in their headings and rows.
const TASKS: [&str; 8] = [
    "message of a refused relogin",
    "auth method",
    "add a store",
    "rotations",
    "reconnect back-off",
    "\"stolen\"",
    "field to the session record",
    "browser keeps the key",
];

#[test]
fn every_task_has_a_recipe_whose_files_exist() {
    let text = read("CONTRIBUTING.md");
    let (_, section) = text.split_once("\n## Recipes\n").expect("CONTRIBUTING.md has a section `Recipes`");
    let recipes: Vec<&str> = section.split("\n### ").skip(1).collect();
    let mut complaints = Vec::new();
    for task in TASKS {
        let recipe = recipes.iter().find(|recipe| heading(recipe).contains(task));
        let Some(recipe) = recipe else {
            complaints.push(format!("CONTRIBUTING.md: add a recipe for `{task}`"));
            continue;
        };
        let files: Vec<&str> = recipe.lines().flat_map(quoted).collect();
        if files.len() < 2 {
            complaints.push(format!("CONTRIBUTING.md: the recipe for `{task}` names {} files", files.len()));
        }
    }
    complaints.extend(missing("CONTRIBUTING.md", &text));
    report(complaints);
}

#[test]
fn every_task_has_a_row_on_the_map() {
    let text = read("ARCHITECTURE.md");
    let (_, section) = text.split_once("\n## Find your way\n").expect("the map has a section `Find your way`");
    let (section, _) = section.split_once("\n## ").expect("the section has an end");
    let rows: Vec<String> = section.lines().filter(|line| line.starts_with('|')).map(str::to_lowercase).collect();
    report(TASKS.iter().filter_map(|task| {
        let has_row = rows.iter().any(|row| row.split('|').nth(1).is_some_and(|cell| cell.contains(task)));
        (!has_row).then(|| format!("ARCHITECTURE.md: add a row for `{task}` to `Find your way`"))
    }));
}

fn missing(page: &str, text: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let gone = quoted(line).filter(|path| !exists(path));
        complaints.extend(gone.map(|path| format!("{page}:{}: there is no {path}", number + 1)));
    }
    complaints
}

fn heading(recipe: &str) -> String {
    recipe.lines().next().unwrap_or_default().to_lowercase()
}

fn read(page: &str) -> String {
    fs::read_to_string(root().join(page)).expect("the page lies at the root")
}

#[test]
fn a_missing_file_is_reported() {
    assert_eq!(missing("P", "`xtask/src/main.rs`\nand `crates/no/such.rs`"), ["P:2: there is no crates/no/such.rs"]);
}
