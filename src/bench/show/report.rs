//! Report: tables and pictures of records, as one HTML page that needs nothing else, and as Markdown beside its files.

use super::caption;
use super::table;
use crate::bench::record::Record;
use crate::show::grid::{Grid, cell, escaped};

/// A picture and what it shows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Picture {
    /// Name of its file, without `.svg`.
    pub name: String,
    /// What it shows.
    pub caption: String,
    /// The picture.
    pub svg: String,
}

/// Tables and pictures of records.
#[derive(Clone, Debug, Default)]
pub struct Report<'a> {
    /// What was measured, in a line.
    pub title: String,
    /// The command line that made it.
    pub command: String,
    /// More about how and where: names and values.
    pub facts: Vec<(String, String)>,
    /// Tables that say most, each with a heading, before those of single runs.
    pub grids: Vec<(String, Grid)>,
    /// Pictures.
    pub pictures: Vec<Picture>,
    /// The runs that are shown one by one.
    pub records: Vec<&'a Record>,
    /// Further runs, of which the raw data is kept.
    pub others: Vec<&'a Record>,
    /// What the figures do not say.
    pub limits: Vec<String>,
}

const STYLE: &str = "\
:root{color-scheme:light dark}\
body{font:15px/1.5 sans-serif;max-width:1040px;margin:2em auto;padding:0 1em;background:#fff;color:#222}\
.wide{overflow-x:auto}\
table{border-collapse:collapse;font-size:13px;font-variant-numeric:tabular-nums}\
th,td{padding:.2em .7em;text-align:right;border-bottom:1px solid #ccc;white-space:nowrap}\
th:first-child,td:first-child{text-align:left}\
svg{width:100%;height:auto;border-radius:6px}\
figure{margin:1.5em 0}\
.alarm{color:#b00020;font-weight:bold}\
code{overflow-wrap:anywhere}\
@media(prefers-color-scheme:dark){body{background:#16181c;color:#ddd}th,td{border-color:#444}.alarm{color:#ff8a94}}";

impl Report<'_> {
    /// One page, with everything in it.
    #[must_use]
    pub fn html(&self) -> String {
        let title = escaped(&self.title);
        let mut page = format!(
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n<title>{title}</title>\n\
             <meta name=\"viewport\" content=\"width=device-width\">\n<style>{STYLE}</style></head><body>\n<h1>{title}</h1>\n<ul>\n\
             <li>command: <code>{}</code></li>\n",
            escaped(&self.command)
        );
        for (name, value) in &self.facts {
            page += &format!("<li>{}: {}</li>\n", escaped(name), escaped(value));
        }
        page += "</ul>\n";
        for limit in &self.limits {
            page += &format!("<p>Limit: {}</p>\n", escaped(limit));
        }
        for (heading, grid) in self.tables() {
            page += &format!("<h2>{}</h2>\n{}", escaped(&heading), grid.html());
        }
        for picture in &self.pictures {
            page += &format!("<figure>\n{}<figcaption>{}</figcaption></figure>\n", picture.svg, escaped(&picture.caption));
        }
        for (name, record) in caption::names(&self.records).iter().zip(&self.records) {
            page += &format!("<h2>{}</h2>\n", escaped(name));
            if let Some(ended) = table::ended(record) {
                page += &format!("<p class=\"alarm\">{}</p>\n", escaped(&ended));
            }
            page += "<ul>\n";
            for (name, value) in table::facts(record) {
                page += &format!("<li>{name}: {}</li>\n", escaped(&value));
            }
            page += &format!("</ul>\n{}", table::latencies(record).html());
            let errors = table::errors(record);
            page += &if errors.rows.is_empty() { "<p>No errors.</p>\n".to_owned() } else { errors.html() };
            for caution in table::cautions(record) {
                page += &format!("<p class=\"alarm\">CAUTION: {}</p>\n", escaped(&caution));
            }
        }
        page + "</body></html>\n"
    }

    /// The same as Markdown, with pictures as files beside it.
    #[must_use]
    pub fn markdown(&self) -> String {
        // A run of backticks in the command must not end its quotation.
        let quote = "`".repeat(1 + self.command.split(|c| c != '`').map(str::len).max().unwrap_or(0));
        let command = self.command.replace(char::is_control, " ");
        let gap = if quote.len() == 1 { "" } else { " " };
        let mut text = format!("# {}\n\nCommand: {quote}{gap}{command}{gap}{quote}\n\n", cell(&self.title));
        for (name, value) in &self.facts {
            text += &format!("- {}: {}\n", cell(name), cell(value));
        }
        for (heading, grid) in self.tables() {
            text += &format!("\n## {}\n\n{}", cell(&heading), grid.markdown());
        }
        for picture in &self.pictures {
            let caption = cell(&picture.caption);
            text += &format!("\n![{caption}]({}.svg)\n\n{caption}\n", picture.name);
        }
        for (name, record) in caption::names(&self.records).iter().zip(&self.records) {
            text += &format!("\n## {}\n\n{}", cell(name), table::markdown(record));
        }
        if !self.limits.is_empty() {
            text += "\n## Limits\n\n";
            for limit in &self.limits {
                text += &format!("- {}\n", cell(limit));
            }
        }
        text
    }

    /// The tables given, and one of all runs where there are several.
    fn tables(&self) -> Vec<(String, Grid)> {
        let mut tables = self.grids.clone();
        if self.records.len() > 1 {
            tables.push(("All runs".to_owned(), table::overview(&self.records)));
        }
        tables
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::show::plot;
    use crate::bench::show::sample;

    #[test]
    fn the_page_has_everything_in_it_and_asks_for_nothing() {
        let (a, mut b) = (sample::record("a<script>", 1000.0), sample::record("b", 1000.0));
        b.ended_early = Some("it went away".to_owned());
        let mut grid = Grid::new(["x", "y"]);
        grid.push(["one", "two"]);
        let report = Report {
            title: "A & B".to_owned(),
            command: "ringkeeper bench".to_owned(),
            facts: vec![("commit".to_owned(), "none".to_owned())],
            grids: vec![("Summary".to_owned(), grid)],
            pictures: vec![Picture { name: "time".to_owned(), caption: "over time".to_owned(), svg: plot::over_time(&[&a, &b]) }],
            records: vec![&a, &b],
            others: Vec::new(),
            limits: vec!["a shared machine".to_owned()],
        };
        let page = report.html();
        for part in ["<h1>A &amp; B</h1>", "<svg ", "Summary", "All runs", "ENDED EARLY: it went away", "Limit: a shared machine"]
        {
            assert!(page.contains(part), "{part} is missing");
        }
        assert!(!page.contains("<script") && !page.contains("src=") && !page.contains("href=") && !page.contains("url("));
        assert_eq!(page.matches("<svg").count(), page.matches("</svg>").count());
        let text = report.markdown();
        for part in [
            "# A & B\n\nCommand: `ringkeeper bench`\n",
            "![over time](time.svg)",
            "## Limits\n\n- a shared machine",
            "## b\n\n**ENDED",
        ] {
            assert!(text.contains(part), "{part} is missing in {text}");
        }
        assert!(!text.replace("\\<", "").contains("<script"), "angle brackets are escaped: {text}");
    }

    #[test]
    fn a_report_of_nothing_is_one_too() {
        let report = Report { command: "a `b` c".to_owned(), ..Report::default() };
        assert!(report.html().ends_with("</body></html>\n"));
        assert!(report.markdown().contains("Command: `` a `b` c ``\n"));
    }
}
