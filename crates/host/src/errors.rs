//! Formats errors for logs and messages.

use std::{error::Error, fmt};

/// An error and its sources on one line, from what failed to why: `users file users.toml: line 3:
/// unknown field`.
#[derive(Clone, Copy, Debug)]
pub struct Chain<'a>(pub &'a (dyn Error + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut last = self.0.to_string();
        f.write_str(&one_line(&last))?;
        for source in std::iter::successors(self.0.source(), |&error| error.source()) {
            let text = source.to_string();
            // Some libraries repeat their source's text in their own.
            if !last.ends_with(&text) {
                write!(f, ": {}", one_line(&text))?;
            }
            last = text;
        }
        Ok(())
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Layer {
        text: &'static str,
        source: Option<Box<Layer>>,
    }

    fn layers(texts: &[&'static str]) -> Layer {
        let (&text, rest) = texts.split_first().unwrap();
        Layer { text, source: (!rest.is_empty()).then(|| Box::new(layers(rest))) }
    }

    #[test]
    fn sources_follow_on_one_line_without_repetition() {
        let written = |texts: &[&'static str]| Chain(&layers(texts)).to_string();
        assert_eq!(written(&["a"]), "a");
        assert_eq!(written(&["store", "disk\n  full", "no space"]), "store: disk full: no space");
        assert_eq!(written(&["open: no such file", "no such file"]), "open: no such file");
    }
}
