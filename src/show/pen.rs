//! Pen: what a picture is drawn with, in points of a sheet of 1000 by 600.

use plotters::backend::SVGBackend;
use plotters::prelude::{Circle, DrawingArea, IntoDrawingArea, IntoFont, PathElement, Polygon, RGBColor, Rectangle, Text};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{Color, FontTransform, ShapeStyle, TextStyle};

/// Width of a sheet.
pub const WIDTH: f64 = 1000.0;
/// Height of a sheet.
pub const HEIGHT: f64 = 600.0;

/// The library places everything on whole points; drawing on a sheet this much larger makes them finer than what is seen.
const FINE: u32 = 8;

/// What plotters divides a size of letters by.
const LETTER: f64 = 1.24;

/// Width of a letter, as a part of its size, that few fonts exceed in the mean.
const BROAD: f64 = 0.56;

/// Why drawing does not fail.
const TAKES: &str = "memory takes what is drawn";

/// The paper.
pub const PAPER: RGBColor = RGBColor(255, 255, 255);
/// Letters and axes.
pub const INK: RGBColor = RGBColor(34, 34, 34);
/// What is less important.
pub const GREY: RGBColor = RGBColor(102, 102, 102);
/// Lines behind the data.
pub const FAINT: RGBColor = RGBColor(224, 224, 224);
/// What must be seen.
pub const ALARM: RGBColor = RGBColor(176, 0, 32);

/// Colours that colour-blind people tell apart too, after Okabe and Ito, without the yellow that white paper swallows.
const COLOURS: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(0, 0, 0),
];

/// How many colours there are.
pub const COLOURED: usize = COLOURS.len();

/// The colour of the series of a number; those of later numbers come again.
#[must_use]
pub const fn colour(number: usize) -> RGBColor {
    COLOURS[number % COLOURS.len()]
}

/// A place on the sheet: from the left, from the top.
pub type Place = (f64, f64);

/// Where a text lies from its place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// It begins there.
    Right,
    /// It ends there.
    Left,
    /// It hangs below, in the middle.
    Below,
    /// It is written upwards, its middle there.
    Upwards,
}

/// Draws on one sheet.
pub struct Pen<'a> {
    sheet: DrawingArea<SVGBackend<'a>, plotters::coord::Shift>,
}

/// The picture that `body` draws.
#[must_use]
pub fn draw(body: impl FnOnce(&Pen<'_>)) -> String {
    let mut svg = String::new();
    let (width, height) = (WIDTH as u32, HEIGHT as u32);
    {
        let sheet = SVGBackend::with_string(&mut svg, (width * FINE, height * FINE)).into_drawing_area();
        sheet.fill(&PAPER).expect(TAKES);
        let pen = Pen { sheet };
        body(&pen);
        pen.sheet.present().expect(TAKES);
    }
    let fine = format!("width=\"{}\" height=\"{}\"", width * FINE, height * FINE);
    svg.replacen(&fine, &format!("width=\"{width}\" height=\"{height}\""), 1)
}

/// How wide a text of letters of `size` will be at most, about.
#[must_use]
pub fn width(text: &str, size: f64) -> f64 {
    text.chars().count() as f64 * size * BROAD
}

impl Pen<'_> {
    /// A line through all places.
    pub fn line(&self, places: impl IntoIterator<Item = Place>, colour: RGBColor, width: f64) {
        let places: Vec<_> = places.into_iter().map(fine).collect();
        self.sheet.draw(&PathElement::new(places, stroke(colour, width))).expect(TAKES);
    }

    /// A line of dashes, straight from one place to another.
    pub fn dashes(&self, from: Place, to: Place, colour: RGBColor, width: f64) {
        const DASH: f64 = 5.0;
        let (dx, dy) = (to.0 - from.0, to.1 - from.1);
        let length = dx.hypot(dy);
        let at = |l: f64| (from.0 + dx * l / length, from.1 + dy * l / length);
        let mut done = 0.0;
        while done < length {
            self.line([at(done), at((done + DASH).min(length))], colour, width);
            done += 2.0 * DASH;
        }
    }

    /// A full circle.
    pub fn dot(&self, place: Place, radius: f64, colour: RGBColor) {
        self.sheet.draw(&Circle::new(fine(place), scaled(radius), colour.filled())).expect(TAKES);
    }

    /// An empty circle.
    pub fn ring(&self, place: Place, radius: f64, colour: RGBColor) {
        self.sheet.draw(&Circle::new(fine(place), scaled(radius), PAPER.filled())).expect(TAKES);
        self.sheet.draw(&Circle::new(fine(place), scaled(radius), stroke(colour, 1.5))).expect(TAKES);
    }

    /// A cross.
    pub fn cross(&self, place: Place, radius: f64, colour: RGBColor) {
        let (x, y) = place;
        self.line([(x - radius, y - radius), (x + radius, y + radius)], colour, 2.0);
        self.line([(x - radius, y + radius), (x + radius, y - radius)], colour, 2.0);
    }

    /// A wedge that points down to a place.
    pub fn wedge(&self, place: Place, colour: RGBColor) {
        let (x, y) = place;
        let corners = [(x, y), (x - 4.0, y - 8.0), (x + 4.0, y - 8.0)].map(fine).to_vec();
        self.sheet.draw(&Polygon::new(corners, colour.filled())).expect(TAKES);
    }

    /// An area of a colour, `shade` (0 to 1) strong.
    pub fn area(&self, from: Place, to: Place, colour: RGBColor, shade: f64) {
        self.sheet.draw(&Rectangle::new([fine(from), fine(to)], colour.mix(shade).filled())).expect(TAKES);
    }

    /// A text.
    pub fn text(&self, place: Place, side: Side, text: &str, size: f64, colour: RGBColor, bold: bool) {
        let font = if bold {
            ("sans-serif", size * f64::from(FINE) * LETTER, "bold").into_font()
        } else {
            ("sans-serif", size * f64::from(FINE) * LETTER).into_font()
        };
        let (font, horizontal, vertical) = match side {
            Side::Right => (font, HPos::Left, VPos::Center),
            Side::Left => (font, HPos::Right, VPos::Center),
            Side::Below => (font, HPos::Center, VPos::Top),
            Side::Upwards => (font.transform(FontTransform::Rotate270), HPos::Center, VPos::Center),
        };
        let style = TextStyle::from(font).pos(Pos::new(horizontal, vertical)).color(&colour);
        // What XML has no room for would make the whole picture unreadable.
        let text: String = text.chars().map(|c| if is_xml(c) { c } else { '\u{fffd}' }).collect();
        self.sheet.draw(&Text::new(text, fine(place), style)).expect(TAKES);
    }
}

fn stroke(colour: RGBColor, width: f64) -> ShapeStyle {
    colour.stroke_width(scaled(width))
}

/// A number that is none comes to stand at the edge; the library reads whole ones only.
fn fine((x, y): Place) -> (i32, i32) {
    ((x * f64::from(FINE)).round() as i32, (y * f64::from(FINE)).round() as i32)
}

fn scaled(length: f64) -> u32 {
    (length * f64::from(FINE)).round() as u32
}

fn is_xml(c: char) -> bool {
    !c.is_control() && !matches!(c, '\u{fffe}' | '\u{ffff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sheet_has_its_size_and_takes_hostile_text_and_places() {
        let svg = draw(|pen| {
            pen.text((10.0, 10.0), Side::Right, "<script>\u{1}&\"", 12.0, INK, false);
            pen.line([(f64::NAN, 0.0), (f64::INFINITY, 1e300)], INK, 1.0);
            pen.dashes((5.0, 5.0), (5.0, 5.0), INK, 1.0);
            pen.dashes((5.0, 5.0), (5.0, 26.0), ALARM, 1.0);
        });
        assert!(svg.starts_with("<svg width=\"1000\" height=\"600\" viewBox=\"0 0 8000 4800\""), "{svg}");
        assert!(svg.trim_end().ends_with("</svg>"));
        assert!(!svg.contains("<script>") && !svg.contains('\u{1}'), "{svg}");
        assert_eq!(svg.matches("#B00020").count(), 3, "a dash, a dash, and what is left of one");
    }

    #[test]
    fn the_first_colours_differ() {
        let all: std::collections::BTreeSet<_> = (0..7)
            .map(|n| {
                let c = colour(n);
                (c.0, c.1, c.2)
            })
            .collect();
        assert_eq!((all.len(), colour(7)), (7, colour(0)));
    }
}
