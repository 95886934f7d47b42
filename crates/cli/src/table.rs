//! Tables for people.

use std::fmt::Write;
use std::time::Duration;

/// Lays rows out in columns as wide as their content, two spaces apart. An empty cell is shown as `-`.
/// Ends with a newline.
pub(crate) fn lay_out<const N: usize>(heading: [&str; N], rows: &[[String; N]]) -> String {
    let mut widths = heading.map(width);
    for row in rows {
        for (widest, cell) in widths.iter_mut().zip(row) {
            *widest = (*widest).max(width(shown(cell)));
        }
    }
    let mut text = String::new();
    write_row(&mut text, &widths, heading);
    for row in rows {
        write_row(&mut text, &widths, row.each_ref().map(|cell| shown(cell)));
    }
    text
}

/// A text of foreign origin, without what would move the cursor, and cut to `chars_max` characters.
pub(crate) fn tame(text: &str, chars_max: usize) -> String {
    let mut tamed: String =
        text.chars().map(|c| if c.is_control() { '?' } else { c }).take(chars_max).collect();
    if text.chars().nth(chars_max).is_some() {
        tamed.pop();
        tamed.push('…');
    }
    tamed
}

/// A time span in its two largest units: `0.3s`, `12s`, `5m10s`, `3h05m`, `2d04h`.
pub(crate) fn span(milliseconds: u64) -> String {
    let seconds = Duration::from_millis(milliseconds).as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    match seconds {
        0..10 => format!("{seconds}.{}s", milliseconds / 100 % 10),
        10..60 => format!("{seconds}s"),
        60..3600 => format!("{minutes}m{:02}s", seconds % 60),
        3600..86400 => format!("{hours}h{:02}m", minutes % 60),
        _ => format!("{days}d{:02}h", hours % 24),
    }
}

fn write_row<const N: usize>(text: &mut String, widths: &[usize; N], row: [&str; N]) {
    let start = text.len();
    for (cell, width) in row.iter().zip(widths) {
        // Writing to a String cannot fail.
        let _ = write!(text, "{cell:<width$}  ");
    }
    let end = start + text[start..].trim_end().len();
    text.truncate(end);
    text.push('\n');
}

fn shown(cell: &str) -> &str {
    if cell.is_empty() { "-" } else { cell }
}

fn width(text: &str) -> usize {
    text.chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_content_and_empty_cells_are_dashes() {
        let rows = [
            ["demo".into(), String::new(), "5".into()],
            ["ä".into(), "longer".into(), String::new()],
        ];
        let expected = "NAME  WHAT    N\ndemo  -       5\nä     longer  -\n";
        assert_eq!(lay_out(["NAME", "WHAT", "N"], &rows), expected);
        assert_eq!(lay_out(["A", "B"], &[]), "A  B\n");
    }

    #[test]
    fn foreign_text_cannot_move_the_cursor_or_push_the_table_apart() {
        assert_eq!(tame("a\x1b[2Jb\n", 20), "a?[2Jb?");
        assert_eq!(tame("abcdef", 6), "abcdef");
        assert_eq!(tame("abcdefg", 6), "abcde…");
    }

    #[test]
    fn spans_have_two_units() {
        for (milliseconds, expected) in [
            (0, "0.0s"),
            (350, "0.3s"),
            (9_999, "9.9s"),
            (59_000, "59s"),
            (310_000, "5m10s"),
            (11_100_000, "3h05m"),
            (187_200_000, "2d04h"),
        ] {
            assert_eq!(span(milliseconds), expected);
        }
    }
}
