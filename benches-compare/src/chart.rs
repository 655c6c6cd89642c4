//! The lines as a chart: for each, how many times as good as the best peer we are, as a bar from
//! one, and where the peers stand, as marks. The axis is logarithmic.

use std::fmt::Write;

use crate::line::{Goal, Measured};
use crate::stores::Contender;
use crate::table::ratio_text;

const LABEL_WIDTH: f64 = 330.0;
const PLOT_WIDTH: f64 = 560.0;
const RATIO_WIDTH: f64 = 90.0;
const HEAD_HEIGHT: f64 = 84.0;
const ROW_HEIGHT: f64 = 24.0;
const FOOT_HEIGHT: f64 = 34.0;
/// Where the axis ends, in decades from one. What lies beyond is drawn at its end.
const DECADES_LEFT: f64 = 2.0;
const DECADES_RIGHT: f64 = 1.5;

/// Colours for light and for dark pages, written out because not every viewer knows variables; text
/// says the same as colours do.
const STYLE: &str = "\
text { font: 13px system-ui, sans-serif; fill: #1f2328; }
.title { font-size: 17px; font-weight: 600; }
.faint { fill: #656d76; font-size: 12px; }
.page { fill: #ffffff; }
.grid { stroke: #d8dee4; }
.one { stroke: #656d76; stroke-width: 1.5; }
.ahead { fill: #1a7f5a; }
.behind { fill: #c2410c; }
.goal { stroke: #1f2328; stroke-width: 2; stroke-dasharray: 3 2; }
.mark { fill: #ffffff; stroke: #1f2328; stroke-width: 1.4; }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3; }
  .faint { fill: #9198a1; }
  .page { fill: #0d1117; }
  .grid { stroke: #30363d; }
  .one { stroke: #9198a1; }
  .ahead { fill: #3fb98a; }
  .behind { fill: #f0883e; }
  .goal { stroke: #e6edf3; }
  .mark { fill: #0d1117; stroke: #e6edf3; }
}
";

/// The chart as SVG.
pub(crate) fn svg(all: &[Measured], subtitle: &str) -> String {
    let rows: Vec<&Measured> = all.iter().filter(|row| row.ratio().is_some()).collect();
    let width = LABEL_WIDTH + PLOT_WIDTH + RATIO_WIDTH;
    let bottom = HEAD_HEIGHT + ROW_HEIGHT * rows.len() as f64;
    let height = bottom + FOOT_HEIGHT;
    let mut svg = Svg(String::new());
    svg.add(format_args!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
         width=\"{width}\" height=\"{height}\" role=\"img\">\n\
         <title>hightower-kv beside other stores</title>\n<style>\n{STYLE}</style>\n\
         <rect width=\"100%\" height=\"100%\" class=\"page\"/>\n"
    ));
    svg.text((14.0, 26.0), "title", "hightower-kv / best peer of each row");
    svg.text((14.0, 46.0), "faint", subtitle);
    svg.legend();
    svg.axis(bottom);
    for (number, row) in rows.into_iter().enumerate() {
        svg.row(row, HEAD_HEIGHT + ROW_HEIGHT * (number as f64 + 0.5));
    }
    svg.add(format_args!("</svg>\n"));
    svg.0
}

/// The place on the axis of a ratio.
fn x_of(ratio: f64) -> f64 {
    let decades = ratio.log10().clamp(-DECADES_LEFT, DECADES_RIGHT);
    LABEL_WIDTH + (decades + DECADES_LEFT) / (DECADES_LEFT + DECADES_RIGHT) * PLOT_WIDTH
}

struct Svg(String);

impl Svg {
    /// Writing to a `String` cannot fail.
    fn add(&mut self, text: std::fmt::Arguments<'_>) {
        let _ = self.0.write_fmt(text);
    }

    fn text(&mut self, (x, y): (f64, f64), class: &str, text: &str) {
        let text = escaped(text);
        self.add(format_args!("<text x=\"{x:.1}\" y=\"{y:.1}\" class=\"{class}\">{text}</text>\n"));
    }

    fn line(&mut self, x: f64, (from, to): (f64, f64), class: &str) {
        self.add(format_args!(
            "<line x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{from:.1}\" y2=\"{to:.1}\" \
             class=\"{class}\"/>\n"
        ));
    }

    fn legend(&mut self) {
        let y = 66.0;
        let mut x = 20.0;
        for peer in Contender::ALL.into_iter().filter(|store| *store != Contender::Ours) {
            self.mark(peer, (x, y - 4.0));
            self.text((x + 10.0, y), "faint", peer.title());
            x += 84.0;
        }
        self.line(x, (y - 11.0, y + 3.0), "goal");
        self.text((x + 8.0, y), "faint", "goal, where it is a ratio to the best peer");
    }

    fn axis(&mut self, bottom: f64) {
        for (ratio, class) in [
            (0.01, "grid"),
            (0.1, "grid"),
            (0.5, "grid"),
            (1.0, "one"),
            (2.0, "grid"),
            (5.0, "grid"),
            (10.0, "grid"),
            (30.0, "grid"),
        ] {
            let x = x_of(ratio);
            self.line(x, (HEAD_HEIGHT - 4.0, bottom + 4.0), class);
            self.text((x - 8.0, bottom + 20.0), "faint", &format!("{ratio}"));
        }
    }

    fn row(&mut self, row: &Measured, y: f64) {
        let Some(ratio) = row.ratio() else { return };
        let (one, end) = (x_of(1.0), x_of(ratio));
        let class = if ratio >= 1.0 { "ahead" } else { "behind" };
        let label = format!("{}, {}", row.line.name, row.line.unit.text());
        self.text((14.0, y + 4.0), "label", &label);
        self.add(format_args!(
            "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"12\" class=\"{class}\"/>\n",
            one.min(end),
            y - 6.0,
            (end - one).abs().max(1.0),
        ));
        for goal in &row.line.goals {
            if let Goal::TimesBest(times) = goal {
                self.line(x_of(*times), (y - 9.0, y + 9.0), "goal");
            }
        }
        let Some(best) = row.best_peer() else { return };
        for peer in Contender::ALL.into_iter().filter(|store| *store != Contender::Ours) {
            if let Some(value) = row.stores.get(&peer) {
                self.mark(peer, (x_of(row.times(*value, best)), y));
            }
        }
        let text = format!("{} x", ratio_text(ratio));
        self.text((LABEL_WIDTH + PLOT_WIDTH + 14.0, y + 4.0), class, &text);
    }

    /// A peer by its shape.
    fn mark(&mut self, peer: Contender, (x, y): (f64, f64)) {
        let name = peer.title();
        let points: &[(f64, f64)] = match peer {
            Contender::Ours | Contender::Fjall => &[],
            Contender::Old => &[(-4.0, -4.0), (4.0, -4.0), (4.0, 4.0), (-4.0, 4.0)],
            Contender::Redb => &[(0.0, -5.0), (5.0, 4.0), (-5.0, 4.0)],
            Contender::Lmdb => &[(0.0, -5.5), (5.5, 0.0), (0.0, 5.5), (-5.5, 0.0)],
            Contender::Sled => &[(0.0, 5.0), (5.0, -4.0), (-5.0, -4.0)],
        };
        if points.is_empty() {
            self.add(format_args!(
                "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4.5\" class=\"mark\"><title>{name}\
                 </title></circle>\n"
            ));
            return;
        }
        let points: Vec<String> =
            points.iter().map(|(dx, dy)| format!("{:.1},{:.1}", x + dx, y + dy)).collect();
        self.add(format_args!(
            "<polygon points=\"{}\" class=\"mark\"><title>{name}</title></polygon>\n",
            points.join(" ")
        ));
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::line::{Line, Unit};

    fn measured(ours: f64, peer: f64) -> Measured {
        let line = Line {
            name: "a<b".to_owned(),
            unit: Unit::PerSecond,
            durability: "buffered",
            size: String::new(),
            goals: vec![Goal::TimesBest(2.0)],
        };
        let stores = [(Contender::Ours, ours), (Contender::Lmdb, peer)].into();
        Measured { line, bare: None, stores }
    }

    #[test]
    fn the_axis_is_logarithmic_and_ends() {
        assert!((x_of(1.0) - x_of(0.1) - (x_of(10.0) - x_of(1.0))).abs() < 1e-9);
        assert_eq!(x_of(1e9).to_bits(), (LABEL_WIDTH + PLOT_WIDTH).to_bits());
        assert_eq!(x_of(1e-9).to_bits(), LABEL_WIDTH.to_bits());
    }

    #[test]
    fn a_row_has_its_bar_its_ratio_and_its_marks() {
        let text = svg(&[measured(30.0, 10.0)], "two cores");
        assert!(text.contains("class=\"ahead\">3.00 x<"), "{text}");
        assert!(text.contains("a&lt;b") && !text.contains("a<b"));
        assert!(svg(&[measured(5.0, 10.0)], "").contains("class=\"behind\">0.50 x<"));
    }

    #[test]
    fn every_element_that_is_opened_is_closed() {
        let text = svg(&[measured(1.0, 1.0), measured(2.0, 1.0)], "");
        for name in ["svg", "text", "polygon", "circle", "title", "style"] {
            let opened = text.matches(&format!("<{name} ")).count()
                + text.matches(&format!("<{name}>")).count();
            assert_eq!(opened, text.matches(&format!("</{name}>")).count(), "{name}");
        }
    }
}
