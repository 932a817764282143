//! Grid: rows under columns, as plain text, Markdown or HTML.

/// Rows under columns. The first column is a name and stands to the left, the others hold figures and stand to the right.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Grid {
    /// Names of the columns.
    pub columns: Vec<String>,
    /// As many cells a row as there are columns; what is missing is empty, what is over is left out.
    pub rows: Vec<Vec<String>>,
}

impl Grid {
    /// An empty one.
    #[must_use]
    pub fn new<T: Into<String>>(columns: impl IntoIterator<Item = T>) -> Self {
        Self { columns: columns.into_iter().map(Into::into).collect(), rows: Vec::new() }
    }

    /// Adds a row.
    pub fn push<T: Into<String>>(&mut self, row: impl IntoIterator<Item = T>) {
        self.rows.push(row.into_iter().map(Into::into).collect());
    }

    /// As plain text, a line a row, each ended.
    #[must_use]
    pub fn text(&self) -> String {
        let widths: Vec<usize> = (0..self.columns.len())
            .map(|i| {
                let cells = self.rows.iter().map(|row| row.get(i).map_or(0, |cell| cell.chars().count()));
                cells.max().unwrap_or(0).max(self.columns[i].chars().count())
            })
            .collect();
        let mut text = String::new();
        for row in std::iter::once(&self.columns).chain(&self.rows) {
            let mut line = String::new();
            for (i, width) in widths.iter().enumerate() {
                let cell = row.get(i).map_or("", String::as_str);
                if i == 0 {
                    line += &format!("{cell:<width$}");
                } else {
                    line += &format!("  {cell:>width$}");
                }
            }
            text += line.trim_end();
            text.push('\n');
        }
        text
    }

    /// As Markdown, an empty line not included.
    #[must_use]
    pub fn markdown(&self) -> String {
        let line = |row: &Vec<String>| {
            let cells = (0..self.columns.len()).map(|i| cell(row.get(i).map_or("", String::as_str)));
            format!("| {} |\n", cells.collect::<Vec<_>>().join(" | "))
        };
        let rule = (0..self.columns.len()).map(|i| if i == 0 { "---" } else { "---:" }).collect::<Vec<_>>().join("|");
        let mut text = line(&self.columns) + &format!("|{rule}|\n");
        for row in &self.rows {
            text += &line(row);
        }
        text
    }

    /// As an HTML table.
    #[must_use]
    pub fn html(&self) -> String {
        let mut text = "<div class=\"wide\"><table>\n<tr>".to_owned();
        for column in &self.columns {
            text += &format!("<th>{}</th>", escaped(column));
        }
        text += "</tr>\n";
        for row in &self.rows {
            text += "<tr>";
            for i in 0..self.columns.len() {
                text += &format!("<td>{}</td>", escaped(row.get(i).map_or("", String::as_str)));
            }
            text += "</tr>\n";
        }
        text + "</table></div>\n"
    }
}

/// What may stand in a cell of a Markdown table, as the text it is.
#[must_use]
pub fn cell(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '|' | '<' | '*' | '`' | '[' | ']' | '\\' => plain.extend(['\\', c]),
            c if c.is_control() => plain.push(' '),
            c => plain.push(c),
        }
    }
    plain
}

/// What may stand in HTML, as the text it is.
#[must_use]
pub fn escaped(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => plain += "&lt;",
            '>' => plain += "&gt;",
            '&' => plain += "&amp;",
            '"' => plain += "&quot;",
            '\'' => plain += "&#39;",
            c if c.is_control() && c != '\n' => plain.push('\u{fffd}'),
            c => plain.push(c),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grid() -> Grid {
        let mut grid = Grid::new(["operation", "n"]);
        grid.push(["get", "1,000"]);
        grid.push(["a|<b>\n", "7", "too many"]);
        grid.push(["x"]);
        grid
    }

    #[test]
    fn figures_stand_below_each_other() {
        let mut grid = grid();
        grid.rows.remove(1);
        assert_eq!(grid.text(), "operation      n\nget        1,000\nx\n");
    }

    #[test]
    fn a_cell_cannot_break_its_table() {
        assert_eq!(grid().markdown(), "| operation | n |\n|---|---:|\n| get | 1,000 |\n| a\\|\\<b>  | 7 |\n| x |  |\n");
        let html = grid().html();
        assert!(html.contains("<tr><td>a|&lt;b&gt;\n</td><td>7</td></tr>"), "{html}");
        assert_eq!(escaped("\"\u{1}'&"), "&quot;\u{fffd}&#39;&amp;");
    }
}
