//! A plot as SVG: panels side by side, each with a line for each contender. Must not know what was
//! measured.

use std::fmt::Write;

/// One diagram.
#[derive(Debug)]
pub(crate) struct Panel {
    pub(crate) title: &'static str,
    /// What the horizontal axis counts.
    pub(crate) across: &'static str,
    pub(crate) lines: Vec<Line>,
}

/// What one contender has at some numbers.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) name: &'static str,
    pub(crate) points: Vec<(f64, f64)>,
}

const COLOURS: [&str; 2] = ["#1a5fb4", "#c64600"];
/// Of a panel, with the room for its labels.
const WIDTH: f64 = 320.0;
const HEIGHT: f64 = 260.0;
/// The room for labels: to the left, above, and below.
const LEFT: f64 = 48.0;
const ABOVE: f64 = 56.0;
const BELOW: f64 = 44.0;
const RIGHT: f64 = 20.0;
/// About how many steps an axis has.
const STEPS: f64 = 5.0;

/// The panels side by side.
pub(crate) fn svg(panels: &[Panel]) -> String {
    let width = WIDTH * panels.len() as f64;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {HEIGHT}\" width=\"{width}\" \
         height=\"{HEIGHT}\" font-family=\"sans-serif\" font-size=\"11\" fill=\"#222\">\n\
         <rect width=\"{width}\" height=\"{HEIGHT}\" fill=\"#fff\"/>\n"
    );
    for (number, panel) in panels.iter().enumerate() {
        // Writing to a text does not fail.
        writeln!(out, "<g transform=\"translate({} 0)\">", WIDTH * number as f64).ok();
        panel.draw(&mut out);
        out.push_str("</g>\n");
    }
    out.push_str("</svg>\n");
    out
}

impl Panel {
    fn draw(&self, out: &mut String) {
        let points = || self.lines.iter().flat_map(|line| &line.points);
        let [most_across, most_up] =
            [points().map(|point| point.0).fold(0.0, f64::max), points().map(|point| point.1).fold(0.0, f64::max)];
        let (step_across, step_up) = (step(most_across), step(most_up));
        let (right, top) = (up_to(most_across, step_across), up_to(most_up, step_up));
        let x = |value: f64| LEFT + value / right * (WIDTH - LEFT - RIGHT);
        let y = |value: f64| HEIGHT - BELOW - value / top * (HEIGHT - ABOVE - BELOW);

        let mut text = |x: f64, y: f64, anchor: &str, more: &str, text: &str| {
            writeln!(out, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\"{more}>{text}</text>").ok();
        };
        text(LEFT, 18.0, "start", " font-size=\"13\" font-weight=\"bold\"", self.title);
        text((LEFT + WIDTH - RIGHT) / 2.0, HEIGHT - 8.0, "middle", "", self.across);
        for value in steps(top, step_up) {
            text(LEFT - 6.0, y(value) + 4.0, "end", "", &number(value));
        }
        for value in steps(right, step_across) {
            text(x(value), HEIGHT - BELOW + 16.0, "middle", "", &number(value));
        }
        for (at, line) in self.lines.iter().enumerate() {
            let more = format!(" fill=\"{}\" font-weight=\"bold\"", COLOURS[at % COLOURS.len()]);
            text(LEFT + 70.0 * at as f64, 38.0, "start", &more, line.name);
        }
        for value in steps(top, step_up) {
            let (from, to, at) = (x(0.0), x(right), y(value));
            writeln!(out, "<path d=\"M{from:.1} {at:.1}H{to:.1}\" stroke=\"#ddd\"/>").ok();
        }
        for (at, line) in self.lines.iter().enumerate() {
            let colour = COLOURS[at % COLOURS.len()];
            let corners: Vec<_> =
                line.points.iter().map(|(across, up)| format!("{:.1},{:.1}", x(*across), y(*up))).collect();
            let corners = corners.join(" ");
            writeln!(out, "<polyline points=\"{corners}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>").ok();
            for (across, up) in &line.points {
                let (x, y) = (x(*across), y(*up));
                writeln!(out, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{colour}\"/>").ok();
            }
        }
    }
}

/// A round number, of which about [`STEPS`] lead up to `most`.
fn step(most: f64) -> f64 {
    let least = (most / STEPS).max(f64::MIN_POSITIVE);
    let power = 10_f64.powf(least.log10().floor());
    let factor = [1.0, 2.0, 5.0].into_iter().find(|factor| factor * power >= least);
    factor.unwrap_or(10.0) * power
}

fn up_to(most: f64, step: f64) -> f64 {
    (most / step).ceil().max(1.0) * step
}

fn steps(to: f64, step: f64) -> impl Iterator<Item = f64> {
    (0..).map(move |n| f64::from(n) * step).take_while(move |value| *value <= to * 1.000_001)
}

/// With a comma before the thousands, and no more digits than it needs.
fn number(value: f64) -> String {
    let text = format!("{:.2}", value % 1_000.0);
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if value < 1_000.0 { text.to_owned() } else { format!("{:.0},{:0>3}", (value / 1_000.0).floor(), text) }
}
