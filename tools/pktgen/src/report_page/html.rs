//! Pieces of HTML: text, numbers, times, tables.

use std::fmt::Write;

use serde_json::Value;

/// Text as HTML shows it as it is.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c if c.is_control() && c != '\n' => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// Columns that a small computer's window has room for.
const FEW: usize = 9;

/// A table: heads, and rows of cells that are HTML already. The first column is text, the others are numbers. Each cell
/// knows its head: in a narrow window rows become lists.
pub(super) fn table(heads: &[&str], rows: &[Vec<String>]) -> String {
    let heads: Vec<_> = heads.iter().map(|head| escape(head)).collect();
    let class = if heads.len() > FEW { " class=\"many\"" } else { "" };
    let mut out = format!("<div class=\"scroll\"><table{class}>\n<thead><tr>");
    for head in &heads {
        let _ = write!(out, "<th>{head}</th>");
    }
    out.push_str("</tr></thead>\n<tbody>\n");
    for row in rows {
        out.push_str("<tr>");
        for (cell, head) in row.iter().zip(&heads) {
            let _ = write!(out, "<td data-head=\"{head}\">{cell}</td>");
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</tbody></table></div>\n");
    out
}

/// A list of names and values that are HTML already.
pub(super) fn pairs(rows: &[(String, String)]) -> String {
    let mut out = String::from("<dl>\n");
    for (name, value) in rows {
        let _ = writeln!(out, "<dt>{}</dt><dd>{value}</dd>", escape(name));
    }
    out.push_str("</dl>\n");
    out
}

/// A count with narrow spaces between thousands.
pub(super) fn count(value: u64) -> String {
    let digits = value.to_string();
    let mut out = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push('\u{202f}');
        }
        out.push(digit);
    }
    out
}

/// A JSON value for people.
pub(super) fn plain(value: &Value) -> String {
    match value {
        Value::Null => "\u{2013}".into(),
        Value::Bool(true) => "yes".into(),
        Value::Bool(false) => "no".into(),
        Value::String(text) => escape(text),
        Value::Number(number) => match number.as_u64() {
            Some(value) => count(value),
            None => short(number.as_f64().unwrap_or(f64::NAN)),
        },
        Value::Array(values) => values.iter().map(plain).collect::<Vec<_>>().join(", "),
        Value::Object(fields) => {
            let parts =
                fields.iter().map(|(name, value)| format!("{} {}", label(name), plain(value)));
            parts.collect::<Vec<_>>().join(", ")
        }
    }
}

/// A number with the digits that matter.
pub(super) fn short(value: f64) -> String {
    if !value.is_finite() {
        return "\u{2013}".into();
    }
    let text = match value.abs() {
        v if v >= 1000.0 => format!("{value:.0}"),
        v if v >= 1.0 => format!("{value:.3}"),
        v if v >= 0.001 => format!("{value:.5}"),
        0.0 => return "0".into(),
        _ => return format!("{value:.3e}"),
    };
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

/// A field's name as a person would write it.
pub(super) fn label(name: &str) -> String {
    escape(&name.replace('_', " "))
}

/// A moment in UTC, from seconds since 1970 (proleptic Gregorian calendar; days since 0000-03-01 as 400-year cycles).
pub(super) fn time(unix: u64) -> String {
    let (days, rest) = (unix / 86_400 + 719_468, unix % 86_400);
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments() {
        for (unix, text) in [
            (0, "1970-01-01 00:00:00 UTC"),
            (951_782_399, "2000-02-28 23:59:59 UTC"),
            (951_782_400, "2000-02-29 00:00:00 UTC"),
            (1_767_225_599, "2025-12-31 23:59:59 UTC"),
        ] {
            assert_eq!(time(unix), text);
        }
    }

    #[test]
    fn numbers_and_text() {
        assert_eq!(count(1_234_567), "1\u{202f}234\u{202f}567");
        assert_eq!(
            (short(1.5), short(0.0), short(12345.6)),
            ("1.5".into(), "0".into(), "12346".into())
        );
        assert_eq!(escape("<a href='x'>&\u{1b}"), "&lt;a href=&#39;x&#39;&gt;&amp;\u{fffd}");
    }
}
