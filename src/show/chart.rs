//! Chart: series on two axes under a title and a legend.

use plotters::prelude::RGBColor;

use super::axis::Axis;
use super::pen::{self, HEIGHT, INK, Pen, Place, Side, WIDTH};

const LEFT: f64 = 76.0;
const RIGHT: f64 = WIDTH - 30.0;
const BOTTOM: f64 = HEIGHT - 50.0;

/// Lines of a legend; what is over is counted only.
const LEGEND_LINES: usize = 5;

/// Lines of conditions.
const CONDITION_LINES: usize = 3;

/// How the points of a series are shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stroke {
    /// A thin line.
    Thin,
    /// A strong line.
    Bold,
    /// Dots without a line.
    Dots,
    /// A thin line through rings.
    Rings,
    /// A strong line through dots.
    Beads,
    /// Crosses without a line.
    Crosses,
    /// An area over the whole height, with a wedge above.
    Band,
    /// A line of dashes over the whole height.
    Dashes,
}

/// Points of one colour and stroke.
#[derive(Clone, PartialEq, Debug)]
pub struct Series {
    /// Its number, which is its colour.
    pub colour: usize,
    /// How it is shown.
    pub stroke: Stroke,
    /// Values on both axes; a line breaks where there is none. A band takes its two ends, dashes take one point.
    pub points: Vec<Option<(f64, f64)>>,
}

/// What a sign means.
#[derive(Clone, PartialEq, Debug)]
pub struct Key {
    /// The sign; of no colour where it means the same in all colours.
    pub colour: Option<usize>,
    /// How it is shown.
    pub stroke: Stroke,
    /// What it means.
    pub text: String,
}

/// A picture.
#[derive(Clone, PartialEq, Debug)]
pub struct Chart {
    /// What is shown of what.
    pub title: String,
    /// Under which conditions.
    pub conditions: Vec<String>,
    /// What must not be overlooked.
    pub alarms: Vec<String>,
    /// From left to right.
    pub x: Axis,
    /// What it counts.
    pub x_name: &'static str,
    /// From below to above.
    pub y: Axis,
    /// What it counts.
    pub y_name: &'static str,
    /// What is shown; later ones over earlier ones.
    pub series: Vec<Series>,
    /// What the signs mean.
    pub legend: Vec<Key>,
}

impl Chart {
    /// The picture, as SVG.
    #[must_use]
    pub fn svg(&self) -> String {
        pen::draw(|pen| {
            let top = self.head(pen);
            let frame = Frame { chart: self, pen, top };
            frame.axes();
            for series in &self.series {
                frame.series(series);
            }
            if self.series.iter().all(|series| series.points.iter().all(Option::is_none)) {
                let middle = ((LEFT + RIGHT) / 2.0, f64::midpoint(top, BOTTOM));
                pen.text(middle, Side::Below, "nothing was measured", 16.0, pen::GREY, false);
            }
        })
    }

    /// Draws title, conditions and legend; how far down they reach.
    fn head(&self, pen: &Pen<'_>) -> f64 {
        const MARGIN: f64 = 20.0;
        let room = WIDTH - 2.0 * MARGIN;
        let mut y = 24.0;
        for line in folded(std::slice::from_ref(&self.title), 17.0, room, 2) {
            pen.text((MARGIN, y), Side::Right, &line, 17.0, INK, true);
            y += 20.0;
        }
        for line in folded(&self.conditions, 11.5, room, CONDITION_LINES) {
            pen.text((MARGIN, y), Side::Right, &line, 11.5, pen::GREY, false);
            y += 15.0;
        }
        for line in folded(&self.alarms, 12.0, room, 2) {
            pen.text((MARGIN, y), Side::Right, &line, 12.0, pen::ALARM, true);
            y += 16.0;
        }
        y += 6.0;
        let (mut x, mut lines) = (MARGIN, 1);
        for (i, key) in self.legend.iter().enumerate() {
            let wide = (42.0 + pen::width(&key.text, 12.5)).min(room);
            if x > MARGIN && x + wide > WIDTH - MARGIN {
                if lines == LEGEND_LINES {
                    pen.text((x, y), Side::Right, &format!("+ {}", self.legend.len() - i), 12.5, INK, false);
                    break;
                }
                (x, y, lines) = (MARGIN, y + 18.0, lines + 1);
            }
            let colour = key.colour.map_or(pen::GREY, pen::colour);
            sign(pen, (x, y), key.stroke, colour);
            let text = folded(std::slice::from_ref(&key.text), 12.5, room - 42.0, 1).concat();
            pen.text((x + 32.0, y), Side::Right, &text, 12.5, INK, false);
            x += wide + 8.0;
        }
        y + 24.0
    }
}

/// Parts joined to lines that fit; words move to the next line, and what does not fit the last ends in dots.
fn folded(parts: &[String], size: f64, room: f64, most: usize) -> Vec<String> {
    let text = parts.join(" · ");
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let full = lines.len() == most;
        let line = lines.last_mut().expect("there is a line");
        if line.is_empty() || pen::width(line, size) + pen::width(word, size) + pen::width(" ...", size) <= room {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        } else if full {
            line.push_str(" ..");
            break;
        } else {
            lines.push(word.to_owned());
        }
    }
    lines.retain(|line| !line.is_empty());
    for line in &mut lines {
        // A single word may be too long for any line.
        let letters = (room / pen::width("x", size)) as usize;
        if line.chars().count() > letters {
            *line = line.chars().take(letters.saturating_sub(3)).chain("..".chars()).collect();
        }
    }
    lines
}

/// The sign of a stroke in a legend.
fn sign(pen: &Pen<'_>, (x, y): Place, stroke: Stroke, colour: RGBColor) {
    let (ends, middle) = ([(x, y), (x + 26.0, y)], (x + 13.0, y));
    match stroke {
        Stroke::Thin => pen.line(ends, colour, THIN),
        Stroke::Bold => pen.line(ends, colour, BOLD),
        Stroke::Dots => [3.0, 13.0, 23.0].into_iter().for_each(|dx| pen.dot((x + dx, y), DOT, colour)),
        Stroke::Rings => {
            pen.line(ends, colour, THIN);
            pen.ring(middle, BEAD, colour);
        }
        Stroke::Beads => {
            pen.line(ends, colour, BOLD);
            pen.dot(middle, BEAD, colour);
        }
        Stroke::Crosses => pen.cross(middle, 5.0, colour),
        Stroke::Band => {
            pen.area((x + 5.0, y - 4.0), (x + 21.0, y + 8.0), colour, SHADE);
            pen.wedge((x + 13.0, y), colour);
        }
        Stroke::Dashes => pen.dashes((x + 13.0, y - 8.0), (x + 13.0, y + 8.0), colour, 1.8),
    }
}

const THIN: f64 = 1.3;
const BOLD: f64 = 2.8;
const DOT: f64 = 2.2;
const BEAD: f64 = 4.0;
const SHADE: f64 = 0.16;

/// Points of which a series is drawn finer.
const MANY: usize = 400;

/// The room between the axes.
struct Frame<'a, 'p> {
    chart: &'a Chart,
    pen: &'a Pen<'p>,
    top: f64,
}

impl Frame<'_, '_> {
    fn x(&self, place: f64) -> f64 {
        LEFT + place * (RIGHT - LEFT)
    }

    fn y(&self, place: f64) -> f64 {
        BOTTOM - place * (BOTTOM - self.top)
    }

    fn place(&self, (x, y): (f64, f64)) -> Option<Place> {
        Some((self.x(self.chart.x.place(x)?), self.y(self.chart.y.place(y)?)))
    }

    fn axes(&self) {
        let Chart { x, y, .. } = self.chart;
        for place in y.between.iter().map(|place| self.y(*place)) {
            self.pen.line([(LEFT, place), (RIGHT, place)], pen::FAINT, 0.5);
        }
        for place in x.between.iter().map(|place| self.x(*place)) {
            self.pen.line([(place, self.top), (place, BOTTOM)], pen::FAINT, 0.5);
        }
        for (place, name) in &y.ticks {
            let at = self.y(*place);
            self.pen.line([(LEFT - 4.0, at), (RIGHT, at)], pen::FAINT, 1.0);
            self.pen.text((LEFT - 8.0, at), Side::Left, name, 12.0, INK, false);
        }
        for (place, name) in &x.ticks {
            let at = self.x(*place);
            self.pen.line([(at, self.top), (at, BOTTOM + 4.0)], pen::FAINT, 1.0);
            self.pen.text((at, BOTTOM + 8.0), Side::Below, name, 12.0, INK, false);
        }
        self.pen.line([(LEFT, self.top), (LEFT, BOTTOM), (RIGHT, BOTTOM)], pen::GREY, 1.0);
        self.pen.text(((LEFT + RIGHT) / 2.0, BOTTOM + 28.0), Side::Below, self.chart.x_name, 12.5, INK, false);
        self.pen.text((14.0, f64::midpoint(self.top, BOTTOM)), Side::Upwards, self.chart.y_name, 12.5, INK, false);
    }

    fn series(&self, series: &Series) {
        let colour = pen::colour(series.colour);
        let places: Vec<Option<Place>> = series.points.iter().map(|point| point.and_then(|point| self.place(point))).collect();
        let fine = if places.len() > MANY { 0.6 } else { 1.0 };
        let there = || places.iter().flatten().copied();
        match series.stroke {
            Stroke::Thin => self.lines(&places, colour, THIN),
            Stroke::Bold => self.lines(&places, colour, BOLD * fine),
            Stroke::Dots => there().for_each(|place| self.pen.dot(place, DOT * fine, colour)),
            Stroke::Rings => {
                self.lines(&places, colour, THIN);
                there().for_each(|place| self.pen.ring(place, BEAD, colour));
            }
            Stroke::Beads => {
                self.lines(&places, colour, BOLD);
                there().for_each(|place| self.pen.dot(place, BEAD, colour));
            }
            Stroke::Crosses => there().for_each(|place| self.pen.cross(place, 6.0, pen::INK)),
            Stroke::Band => {
                let ends: Vec<f64> = there().map(|(x, _)| x).collect();
                if let (Some(from), Some(to)) = (ends.first(), ends.last()) {
                    // A short one must be seen too.
                    self.pen.area((*from, self.top), (to.max(from + 2.0), BOTTOM), colour, SHADE);
                    self.pen.wedge((f64::midpoint(*from, to.max(from + 2.0)), self.top), colour);
                }
            }
            Stroke::Dashes => there().for_each(|(x, _)| self.pen.dashes((x, BOTTOM), (x, self.top), colour, 1.8)),
        }
    }

    /// Lines through what is not interrupted; a point alone is a dot.
    fn lines(&self, places: &[Option<Place>], colour: RGBColor, width: f64) {
        for run in places.split(Option::is_none) {
            let run: Vec<Place> = run.iter().flatten().copied().collect();
            match run.as_slice() {
                [] => {}
                [alone] => self.pen.dot(*alone, width.max(1.5), colour),
                run => self.pen.line(run.iter().copied(), colour, width),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::show::figure;

    fn chart(points: Vec<Option<(f64, f64)>>, stroke: Stroke) -> Chart {
        Chart {
            title: "a title".to_owned(),
            conditions: vec!["one".to_owned(), "two".to_owned()],
            alarms: Vec::new(),
            x: Axis::linear(10.0, figure::tick),
            x_name: "seconds",
            y: Axis::logarithmic([1.0, 1000.0].into_iter(), figure::short),
            y_name: "latency",
            series: vec![Series { colour: 0, stroke, points }],
            legend: vec![Key { colour: Some(0), stroke, text: "a series".to_owned() }],
        }
    }

    #[test]
    fn lines_break_where_nothing_was_measured_and_a_point_alone_is_seen() {
        let point = |x: f64| Some((x, 100.0));
        let svg = chart(vec![point(1.0), point(2.0), None, point(4.0), None, None, point(6.0), point(7.0)], Stroke::Bold).svg();
        let blue = svg.lines().filter(|line| line.contains("#0072B2"));
        let (lines, dots): (Vec<_>, Vec<_>) = blue.partition(|line| line.contains("polyline"));
        assert_eq!((lines.len(), dots.len()), (3, 1), "two lines and the legend's, one dot: {svg}");
        assert!(svg.contains("one · two") && !svg.contains("nothing was measured"));
    }

    #[test]
    fn every_stroke_takes_nothing_one_point_and_what_is_off_the_axes() {
        for stroke in [
            Stroke::Thin,
            Stroke::Bold,
            Stroke::Dots,
            Stroke::Rings,
            Stroke::Beads,
            Stroke::Crosses,
            Stroke::Band,
            Stroke::Dashes,
        ] {
            assert!(chart(Vec::new(), stroke).svg().contains("nothing was measured"));
            for point in [(1.0, 10.0), (1e300, 1e300), (-5.0, 0.0), (f64::NAN, f64::INFINITY)] {
                assert!(chart(vec![Some(point)], stroke).svg().ends_with("</svg>\n"), "{stroke:?} {point:?}");
            }
        }
    }

    #[test]
    fn long_heads_are_folded_and_a_long_legend_is_counted() {
        let mut chart = chart(Vec::new(), Stroke::Thin);
        chart.title = "word ".repeat(100);
        chart.conditions = vec!["x".repeat(400), "condition ".repeat(80)];
        chart.legend =
            (0..80).map(|n| Key { colour: Some(n), stroke: Stroke::Thin, text: format!("series of number {n}") }).collect();
        let svg = chart.svg();
        assert!(svg.contains("word .."), "the title has an end");
        assert!(svg.contains("+ 5") || svg.contains("+ 4"), "the rest of the legend is counted");
        assert!(svg.contains("nothing was measured"), "room is left for the data");
        assert_eq!(folded(&["a b".to_owned()], 10.0, 1000.0, 1), ["a b"]);
        assert!(folded(&[], 10.0, 1000.0, 1).is_empty());
    }
}
