//! Heat: values by rows and columns as cells, the darker the greater, on one scale for all panels of a sheet.

use super::pen::{self, GREY, HEIGHT, INK, Pen, Side, WIDTH};

/// Cells of some rows and columns.
#[derive(Clone, PartialEq, Debug)]
pub struct Panel {
    /// What it shows.
    pub name: String,
    /// Names of the columns.
    pub columns: Vec<String>,
    /// Names of the rows.
    pub rows: Vec<String>,
    /// For each row its cells: a value above 0, and what is written there.
    pub cells: Vec<Vec<Option<(f64, String)>>>,
}

/// A sheet of panels.
#[derive(Clone, PartialEq, Debug)]
pub struct Heat {
    /// What is shown.
    pub title: String,
    /// Under which conditions.
    pub conditions: Vec<String>,
    /// What the columns and the rows are.
    pub axes: String,
    /// Side by side, two in a row.
    pub panels: Vec<Panel>,
}

const MARGIN: f64 = 20.0;
const HEAD: f64 = 90.0;
/// Room for the names of rows.
const NAMES: f64 = 60.0;
/// The darkest: letters must stay readable.
const DARKEST: f64 = 0.75;

impl Heat {
    /// The picture, as SVG.
    #[must_use]
    pub fn svg(&self) -> String {
        pen::draw(|pen| {
            pen.text((MARGIN, 24.0), Side::Right, &self.title, 17.0, INK, true);
            pen.text((MARGIN, 46.0), Side::Right, &self.conditions.join(" · "), 11.5, GREY, false);
            pen.text((MARGIN, 66.0), Side::Right, &self.axes, 12.5, INK, false);
            let values = self.panels.iter().flat_map(|panel| panel.cells.iter().flatten().flatten().map(|cell| cell.0));
            let usable = values.filter(|value| value.is_finite() && *value > 0.0);
            let (least, most) = usable.fold((f64::INFINITY, 0.0f64), |(a, b), value| (a.min(value), b.max(value)));
            if most == 0.0 {
                pen.text((WIDTH / 2.0, HEIGHT / 2.0), Side::Below, "nothing was measured", 16.0, GREY, false);
                return;
            }
            let across = self.panels.len().clamp(1, 2);
            let down = self.panels.len().div_ceil(across);
            let (wide, high) = ((WIDTH - 2.0 * MARGIN) / across as f64, (HEIGHT - HEAD - MARGIN) / down as f64);
            for (n, panel) in self.panels.iter().enumerate() {
                let place = (MARGIN + (n % across) as f64 * wide, HEAD + (n / across) as f64 * high);
                draw(pen, panel, place, (wide - 10.0, high - 10.0), |value| shade(value, least, most));
            }
        })
    }
}

/// How dark a value is, by its logarithm.
fn shade(value: f64, least: f64, most: f64) -> f64 {
    let part = if most > least { (value / least).ln() / (most / least).ln() } else { 0.0 };
    if part.is_finite() { part.clamp(0.0, 1.0) * DARKEST + 0.03 } else { 0.0 }
}

fn draw(pen: &Pen<'_>, panel: &Panel, (x, y): (f64, f64), (wide, high): (f64, f64), shade: impl Fn(f64) -> f64) {
    pen.text((x, y + 8.0), Side::Right, &panel.name, 13.0, INK, true);
    let (left, top) = (x + NAMES, y + 40.0);
    let cell = ((wide - NAMES) / panel.columns.len().max(1) as f64, (y + high - top) / panel.rows.len().max(1) as f64);
    let size = (cell.0 / 7.0).clamp(7.0, 12.0);
    for (n, name) in panel.columns.iter().enumerate() {
        pen.text((left + (n as f64 + 0.5) * cell.0, y + 22.0), Side::Below, name, 11.5, GREY, false);
    }
    for (row, name) in panel.rows.iter().enumerate() {
        let at = top + row as f64 * cell.1;
        pen.text((left - 8.0, at + cell.1 / 2.0), Side::Left, name, 11.5, GREY, false);
        for (column, value) in panel.cells.get(row).into_iter().flatten().enumerate().take(panel.columns.len()) {
            let Some((value, text)) = value else { continue };
            let from = (left + column as f64 * cell.0, at);
            pen.area((from.0 + 1.0, from.1 + 1.0), (from.0 + cell.0 - 1.0, from.1 + cell.1 - 1.0), pen::colour(1), shade(*value));
            pen.text((from.0 + cell.0 / 2.0, at + cell.1 / 2.0 - size / 2.0), Side::Below, text, size, INK, false);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn panel(cells: Vec<Vec<Option<(f64, String)>>>) -> Panel {
        let names = |n: &str| vec![format!("{n}1"), format!("{n}2")];
        Panel { name: "a panel".to_owned(), columns: names("column"), rows: names("row"), cells }
    }

    fn svg(panels: Vec<Panel>) -> String {
        Heat { title: "a title".to_owned(), conditions: vec!["one".to_owned()], axes: "axes".to_owned(), panels }.svg()
    }

    #[test]
    fn cells_are_drawn_where_there_are_values() {
        let some = |value: f64| Some((value, format!("{value} us")));
        let all = svg(vec![panel(vec![vec![some(1.0), some(10.0)], vec![None, some(100.0)]])]);
        for part in ["a title", "axes", "a panel", "column2", "row1", "100 us"] {
            assert!(all.contains(part), "{part} is missing");
        }
        assert_eq!(all.matches("#D55E00").count(), 3, "three cells");
        assert!(svg(Vec::new()).contains("nothing was measured"));
    }

    #[test]
    fn odd_values_are_drawn_too() {
        let odd = [f64::NAN, f64::INFINITY, 0.0, -1.0, 5.0].map(|value| Some((value, "odd".to_owned())));
        assert!(svg(vec![panel(vec![odd.to_vec()]); 3]).ends_with("</svg>\n"));
        assert_eq!((shade(5.0, 5.0, 5.0), shade(f64::NAN, 1.0, 2.0)), (0.03, 0.0));
        assert!(shade(2.0, 1.0, 100.0) < shade(50.0, 1.0, 100.0));
    }
}
