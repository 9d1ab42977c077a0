//! Line charts as SVG: axes with units, lines told apart by colour and by dashes, a legend; readable on light and on dark ground.
//!
//! It draws what it is given and knows nothing of methods or measures.

use std::fmt::Write;

/// The plot's rectangle, in pixels.
const LEFT: f64 = 64.0;
const TOP: f64 = 44.0;
const WIDE: f64 = 420.0;
const HIGH: f64 = 320.0;
/// The legend beside it.
const LEGEND: f64 = 250.0;
const LINE: f64 = 18.0;
/// Lines that get a colour of their own; more are drawn alike.
const MOST_COLOURS: usize = 12;

/// M. Okabe, K. Ito, "Color Universal Design" (2008): told apart with any colour vision; the yellow darkened, because it must
/// be seen on white.
const COLOURS: [&str; 6] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b8860b", "#56b4e9"];

/// One line.
pub struct Line {
    pub name: String,
    /// In the axes' units, x rising.
    pub points: Vec<(f64, f64)>,
    /// Half the height of the bar at each point; empty: no bars.
    pub spread: Vec<f64>,
    /// Drawn bold and in the text's colour: a mean.
    pub bold: bool,
}

/// One axis.
pub struct Axis {
    /// With the unit.
    pub label: String,
    pub low: f64,
    pub high: f64,
    /// Where there is a tick, and what stands at it.
    pub ticks: Vec<(f64, String)>,
}

impl Axis {
    /// From 0 to 100 %.
    pub fn percent(label: &str) -> Self {
        Self::between(label, 0.0, 100.0)
    }

    /// With some five ticks at round numbers; the ends are moved out to ticks.
    pub fn between(label: &str, low: f64, high: f64) -> Self {
        let span = (high - low).max(0.1);
        let high = low + span;
        let power = 10f64.powf((span / 5.0).log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|m| m * power).into_iter().find(|s| span / s <= 6.0).unwrap_or(span);
        let (first, last) = ((low / step + 1e-9).floor(), (high / step - 1e-9).ceil());
        let digits = (-step.log10().floor()).max(0.0) as usize;
        let count = (last - first) as usize;
        let ticks = (0..=count).map(|i| (first + i as f64) * step).map(|x| (x, format!("{x:.digits$}"))).collect();
        Self { label: label.into(), low: first * step, high: last * step, ticks }
    }

    fn share(&self, x: f64) -> f64 {
        (x - self.low) / (self.high - self.low).max(1e-12)
    }
}

/// A chart.
pub struct Chart {
    pub title: String,
    pub x: Axis,
    pub y: Axis,
    /// The line of chance, from corner to corner.
    pub diagonal: bool,
    pub lines: Vec<Line>,
}

impl Chart {
    /// The whole file.
    pub fn svg(&self) -> String {
        let alike = self.lines.iter().filter(|l| !l.bold).count() > MOST_COLOURS;
        let named: Vec<&Line> = self.lines.iter().filter(|l| l.bold || !alike).collect();
        let legend_rows = named.len() + usize::from(alike);
        let high = (TOP + HIGH + 56.0).max(TOP + LINE * (legend_rows as f64 + 1.0));
        let wide = LEFT + WIDE + 16.0 + LEGEND;
        let mut out = String::new();
        let title = escape(&self.title);
        let _ = write!(
            out,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {wide} {high}\" width=\"{wide}\" height=\"{high}\" role=\"img\">\n\
             <title>{title}</title>\n\
             <style>\n\
             .ground{{fill:#fff}} text{{fill:#1a1a1a;font:13px system-ui,sans-serif}} .frame{{stroke:#1a1a1a;fill:none}}\n\
             .grid{{stroke:#ddd;fill:none}} .chance{{stroke:#888;stroke-dasharray:2 3;fill:none}} .bold{{stroke:#1a1a1a}} .alike{{stroke:#999}}\n\
             @media (prefers-color-scheme:dark){{\n\
             .ground{{fill:#161616}} text{{fill:#eee}} .frame{{stroke:#eee}} .grid{{stroke:#3a3a3a}} .bold{{stroke:#eee}} .alike{{stroke:#777}}\n\
             }}\n\
             </style>\n\
             <rect class=\"ground\" width=\"{wide}\" height=\"{high}\"/>\n\
             <text x=\"{LEFT}\" y=\"24\" font-weight=\"600\">{title}</text>\n"
        );
        self.axes(&mut out);
        let mut row = 0usize;
        let mut coloured = 0usize;
        for line in &self.lines {
            let style = match (line.bold, alike) {
                (true, _) => "class=\"bold\" stroke-width=\"3\"".to_string(),
                (false, true) => "class=\"alike\" stroke-width=\"1\"".to_string(),
                (false, false) => {
                    let colour = COLOURS[coloured % COLOURS.len()];
                    let dash = ["", " stroke-dasharray=\"7 4\""][coloured / COLOURS.len() % 2];
                    coloured += 1;
                    format!("stroke=\"{colour}\" stroke-width=\"2\"{dash}")
                }
            };
            self.line(&mut out, line, &style);
            if line.bold || !alike {
                self.legend(&mut out, row, &line.name, &style);
                row += 1;
            }
        }
        if alike {
            let others = self.lines.iter().filter(|l| !l.bold).count();
            self.legend(&mut out, row, &format!("each of {others} classes"), "class=\"alike\" stroke-width=\"1\"");
        }
        out += "</svg>\n";
        out
    }

    fn at(&self, (x, y): (f64, f64)) -> (f64, f64) {
        (LEFT + WIDE * self.x.share(x), TOP + HIGH * (1.0 - self.y.share(y)))
    }

    fn axes(&self, out: &mut String) {
        for (x, name) in &self.x.ticks {
            let (at, _) = self.at((*x, self.y.low));
            let (bottom, below) = (TOP + HIGH, TOP + HIGH + 18.0);
            let _ = writeln!(
                out,
                "<path class=\"grid\" d=\"M{at:.1} {TOP}V{bottom}\"/><text x=\"{at:.1}\" y=\"{below}\" text-anchor=\"middle\">{}</text>",
                escape(name)
            );
        }
        for (y, name) in &self.y.ticks {
            let (_, at) = self.at((self.x.low, *y));
            let (right, before, base) = (LEFT + WIDE, LEFT - 8.0, at + 4.5);
            let _ = writeln!(
                out,
                "<path class=\"grid\" d=\"M{LEFT} {at:.1}H{right}\"/><text x=\"{before}\" y=\"{base:.1}\" text-anchor=\"end\">{}</text>",
                escape(name)
            );
        }
        let _ = writeln!(out, "<rect class=\"frame\" x=\"{LEFT}\" y=\"{TOP}\" width=\"{WIDE}\" height=\"{HIGH}\"/>");
        if self.diagonal {
            let _ = writeln!(out, "<path class=\"chance\" d=\"M{LEFT} {}L{} {TOP}\"/>", TOP + HIGH, LEFT + WIDE);
        }
        let (middle, below) = (LEFT + WIDE / 2.0, TOP + HIGH + 42.0);
        let _ =
            writeln!(out, "<text x=\"{middle}\" y=\"{below}\" text-anchor=\"middle\">{}</text>", escape(&self.x.label));
        let middle = TOP + HIGH / 2.0;
        let _ = writeln!(
            out,
            "<text transform=\"translate(18 {middle}) rotate(-90)\" text-anchor=\"middle\">{}</text>",
            escape(&self.y.label)
        );
    }

    fn line(&self, out: &mut String, line: &Line, style: &str) {
        let mut path = String::new();
        for (i, &point) in line.points.iter().enumerate() {
            let (x, y) = self.at(point);
            let _ = write!(path, "{}{x:.1} {y:.1}", if i == 0 { "M" } else { "L" });
        }
        let _ = writeln!(out, "<path fill=\"none\" {style} d=\"{path}\"><title>{}</title></path>", escape(&line.name));
        for (&(x, y), &half) in line.points.iter().zip(&line.spread) {
            let ((at, low), (_, high)) =
                (self.at((x, (y - half).max(self.y.low))), self.at((x, (y + half).min(self.y.high))));
            let _ =
                writeln!(out, "<path fill=\"none\" {style} stroke-opacity=\".6\" d=\"M{at:.1} {low:.1}V{high:.1}\"/>");
        }
    }

    fn legend(&self, out: &mut String, row: usize, name: &str, style: &str) {
        let (x, y) = (LEFT + WIDE + 16.0, TOP + 8.0 + LINE * row as f64);
        let _ = writeln!(
            out,
            "<path fill=\"none\" {style} d=\"M{x} {y}h26\"/><text x=\"{}\" y=\"{}\">{}</text>",
            x + 32.0,
            y + 4.5,
            escape(name)
        );
    }
}

/// For text in XML; control characters, which XML forbids, become spaces.
fn escape(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(lines: usize) -> String {
        let line = |i: usize| Line {
            name: format!("<{i}> & \"x\"\u{1b}"),
            points: vec![(0.0, 0.0), (100.0, 50.0)],
            spread: vec![5.0, 90.0],
            bold: i == 0,
        };
        let (x, y) = (Axis::percent("x, %"), Axis::percent("y, %"));
        Chart { title: "a < b".into(), x, y, diagonal: true, lines: (0..lines).map(line).collect() }.svg()
    }

    #[test]
    fn axes_have_round_ticks_and_units() {
        let names = |low: f64, high: f64| -> Vec<String> {
            Axis::between("", low, high).ticks.into_iter().map(|t| t.1).collect()
        };
        assert_eq!(names(0.0, 100.0), ["0", "20", "40", "60", "80", "100"]);
        assert_eq!(names(97.31, 99.02), ["97.0", "97.5", "98.0", "98.5", "99.0", "99.5"]);
        assert!(names(50.0, 50.0).len() >= 2, "no height, an axis all the same");
        let svg = chart(2);
        assert!(svg.contains(">x, %</text>") && svg.contains(">y, %</text>"), "{svg}");
    }

    #[test]
    fn names_are_escaped_and_dark_ground_is_provided_for() {
        let svg = chart(3);
        assert!(svg.contains("a &lt; b") && svg.contains("&lt;1&gt; &amp; &quot;x&quot; "), "{svg}");
        assert!(svg.contains("prefers-color-scheme:dark") && !svg.contains("NaN"));
        assert_eq!(svg.matches("<svg").count(), svg.matches("</svg>").count());
        assert!(!chart(3).contains("each of") && chart(40).contains("each of 39 classes"));
    }

    #[test]
    fn points_stand_where_they_should() {
        // (100, 50) is at the right edge, half-way up
        assert!(chart(1).contains(&format!("L{:.1} {:.1}", LEFT + WIDE, TOP + HIGH / 2.0)));
    }
}
