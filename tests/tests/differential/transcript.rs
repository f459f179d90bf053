//! What came of a script at one gateway, in words that are the same for both: what each client got,
//! in its order, and what the service was asked, in order for each subject. Compares two of them.

use std::{
    collections::BTreeMap,
    fmt::{self, Write as _},
};

/// A line of it belongs to a stream: a client, an HTTP request, a subject. Between streams there is
/// no order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Transcript {
    streams: BTreeMap<String, Vec<String>>,
}

/// The stream of the script itself.
const SCRIPT: &str = "script";

/// Lines that only one of two has, `stream line`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Difference {
    pub(crate) first: Vec<String>,
    pub(crate) second: Vec<String>,
}

impl fmt::Display for Difference {
    /// As a script declares it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.first.iter().try_for_each(|line| writeln!(f, "resgate: {line}"))?;
        self.second.iter().try_for_each(|line| writeln!(f, "ours: {line}"))
    }
}

impl Transcript {
    pub(crate) fn add(&mut self, stream: &str, line: String) {
        self.streams.entry(stream.to_owned()).or_default().push(line);
    }

    /// Adds that the script timed out.
    pub(crate) fn stop(&mut self, at: &str) {
        self.add(SCRIPT, format!("times out at `{at}`"));
    }

    /// True if the script has timed out.
    pub(crate) fn has_stopped(&self) -> bool {
        self.streams.contains_key(SCRIPT)
    }

    /// With what differs from one run to the other replaced.
    pub(crate) fn renamed(&self, rename: impl Fn(&str) -> String) -> Self {
        let mut renamed = Self::default();
        for (stream, lines) in &self.streams {
            let lines = lines.iter().map(|line| rename(line));
            renamed.streams.entry(rename(stream)).or_default().extend(lines);
        }
        renamed
    }

    pub(crate) fn difference(&self, other: &Self) -> Difference {
        let mut difference = Difference::default();
        for (stream, pairs) in self.beside(other) {
            for (first, second) in pairs.into_iter().filter(|(first, second)| first != second) {
                difference.first.extend(first.map(|line| format!("{stream} {line}")));
                difference.second.extend(second.map(|line| format!("{stream} {line}")));
            }
        }
        difference
    }

    /// Both, side by side; lines that differ are marked.
    pub(crate) fn show_beside(&self, other: &Self, names: [&str; 2]) -> String {
        const WIDTH: usize = 78;
        let mut text = format!("  {:<WIDTH$} | {}\n", names[0], names[1]);
        for (stream, pairs) in self.beside(other) {
            let _ = writeln!(text, "  {stream}");
            for (first, second) in pairs {
                let mark = if first == second { ' ' } else { '!' };
                let parts = |line: &Option<String>| chunks(line.as_deref().unwrap_or(""), WIDTH - 2);
                let (first, second) = (parts(&first), parts(&second));
                for row in 0..first.len().max(second.len()) {
                    let part = |parts: &[String]| parts.get(row).cloned().unwrap_or_default();
                    let left = format!("  {}", part(&first));
                    let _ = writeln!(text, "{mark} {left:<WIDTH$} |   {}", part(&second));
                }
            }
        }
        text
    }

    fn beside(&self, other: &Self) -> Vec<(String, Rows)> {
        let names: std::collections::BTreeSet<_> = self.streams.keys().chain(other.streams.keys()).collect();
        let lines = |of: &Self, name: &str| of.streams.get(name).cloned().unwrap_or_default();
        names.into_iter().map(|name| (name.clone(), align(&lines(self, name), &lines(other, name)))).collect()
    }
}

/// Lines of two, beside each other.
type Rows = Vec<(Option<String>, Option<String>)>;

/// Two lists beside each other, with the longest list of lines that they have in common in the same
/// rows.
fn align(first: &[String], second: &[String]) -> Rows {
    let mut common = vec![vec![0; second.len() + 1]; first.len() + 1];
    for a in (0..first.len()).rev() {
        for b in (0..second.len()).rev() {
            common[a][b] =
                if first[a] == second[b] { common[a + 1][b + 1] + 1 } else { common[a + 1][b].max(common[a][b + 1]) };
        }
    }
    let (mut a, mut b, mut rows) = (0, 0, Vec::new());
    while a < first.len() || b < second.len() {
        let both = a < first.len() && b < second.len();
        if both && first[a] == second[b] {
            rows.push((Some(first[a].clone()), Some(second[b].clone())));
            (a, b) = (a + 1, b + 1);
        } else if b == second.len() || both && common[a + 1][b] >= common[a][b + 1] {
            rows.push((Some(first[a].clone()), None));
            a += 1;
        } else {
            rows.push((None, Some(second[b].clone())));
            b += 1;
        }
    }
    rows
}

fn chunks(text: &str, width: usize) -> Vec<String> {
    let characters: Vec<char> = text.chars().collect();
    characters.chunks(width).map(|part| part.iter().collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(lines: &[(&str, &str)]) -> Transcript {
        let mut transcript = Transcript::default();
        lines.iter().for_each(|(stream, line)| transcript.add(stream, (*line).to_owned()));
        transcript
    }

    #[test]
    fn order_matters_only_within_a_stream() {
        let one = of(&[("1<", "a"), ("2<", "x"), ("1<", "b")]);
        assert_eq!(one, of(&[("2<", "x"), ("1<", "a"), ("1<", "b")]));
        let other = of(&[("2<", "x"), ("1<", "b"), ("1<", "a")]);
        assert_ne!(one, other);
        let difference = one.difference(&other);
        assert_eq!((difference.first, difference.second), (vec!["1< a".to_owned()], vec!["1< a".to_owned()]));
    }

    #[test]
    fn a_line_of_only_one_transcript_is_a_difference_and_stands_beside_nothing() {
        let (one, other) = (of(&[("1<", "a"), ("1<", "b"), ("1<", "c")]), of(&[("1<", "a"), ("1<", "c"), ("2<", "d")]));
        let difference = one.difference(&other);
        assert_eq!((difference.first, difference.second), (vec!["1< b".to_owned()], vec!["2< d".to_owned()]));
        let shown = one.show_beside(&other, ["one", "other"]);
        let marked: Vec<_> = shown.lines().filter(|line| line.starts_with('!')).map(str::trim_end).collect();
        assert!(marked[0].starts_with("!   b ") && marked[0].ends_with('|') && marked[1].ends_with("|   d"), "{shown}");
    }
}
