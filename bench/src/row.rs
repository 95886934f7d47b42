//! One measured number, for people and for programs.

use serde::Serialize;

use crate::method::Comparison;

/// A row of a bench. As JSON, one object a line.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    /// Its name in the list of targets.
    pub(crate) row: &'static str,
    /// What was measured.
    pub(crate) case: String,
    /// The subject's number.
    pub(crate) value: f64,
    /// Its unit, and the reference's.
    pub(crate) unit: &'static str,
    /// The reference's number.
    pub(crate) reference: f64,
    /// Subject to reference.
    pub(crate) ratio: f64,
    /// What [`ok`](Self::ok) is decided by.
    pub(crate) target: f64,
    /// Whether the target is met.
    pub(crate) ok: bool,
    /// First and third quartile of the blocks' ratios.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) iqr: Option<(f64, f64)>,
    /// Blocks that counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) blocks: Option<usize>,
    /// Blocks dropped for a disturbed reference.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) dropped: Option<usize>,
    /// p50, p99 and p99.9 of the subject's operations, where each was timed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) percentiles: Option<[f64; 3]>,
    /// The same of the reference.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reference_percentiles: Option<[f64; 3]>,
    /// Where the threads ran, and what else a reader must know.
    pub(crate) placement: String,
}

impl Row {
    /// A row of times, good when the ratio is at most `target`.
    pub(crate) fn of_times(
        row: &'static str,
        case: impl Into<String>,
        found: &Comparison,
        target: f64,
        placement: impl Into<String>,
    ) -> Row {
        Row {
            row,
            case: case.into(),
            value: round(found.value, 1),
            unit: "ns",
            reference: round(found.reference, 1),
            ratio: round(found.ratio, 3),
            target,
            ok: found.ratio <= target,
            iqr: Some((round(found.quartiles.0, 3), round(found.quartiles.1, 3))),
            blocks: Some(found.blocks),
            dropped: Some(found.dropped),
            percentiles: None,
            reference_percentiles: None,
            placement: placement.into(),
        }
    }

    /// A row of rates, good when the subject does at least `target` times what the reference does.
    pub(crate) fn of_rates(
        row: &'static str,
        case: impl Into<String>,
        found: &Comparison,
        target: f64,
        placement: impl Into<String>,
    ) -> Row {
        let per_second = |nanoseconds: f64| round(1e9 / nanoseconds, 0);
        let (low, high) = (1.0 / found.quartiles.1, 1.0 / found.quartiles.0);
        let ratio = 1.0 / found.ratio;
        Row {
            value: per_second(found.value),
            unit: "1/s",
            reference: per_second(found.reference),
            ratio: round(ratio, 3),
            ok: ratio >= target,
            iqr: Some((round(low, 3), round(high, 3))),
            ..Row::of_times(row, case, found, target, placement)
        }
    }

    /// A row of one number beside another, good when the ratio is at most `target`.
    pub(crate) fn of_numbers(
        row: &'static str,
        case: impl Into<String>,
        (value, reference, unit): (f64, f64, &'static str),
        target: f64,
        placement: impl Into<String>,
    ) -> Row {
        let ratio = value / reference;
        Row {
            row,
            case: case.into(),
            value: round(value, 3),
            unit,
            reference: round(reference, 3),
            ratio: round(ratio, 3),
            target,
            ok: ratio <= target,
            iqr: None,
            blocks: None,
            dropped: None,
            percentiles: None,
            reference_percentiles: None,
            placement: placement.into(),
        }
    }

    /// The object that `--json` prints on one line.
    pub(crate) fn to_json(&self) -> String {
        serde_json::to_string(self).expect("a row holds numbers and texts only")
    }
}

/// Rounded to that many decimals: what is behind them is noise.
pub(crate) fn round(value: f64, decimals: i32) -> f64 {
    let scale = 10_f64.powi(decimals);
    (value * scale).round() / scale
}

/// The table's head.
pub(crate) fn head() -> String {
    format!(
        "{:<6} {:<26} {:>11} {:>11} {:>7} {:>15} {:>7}  {:<4} {}",
        "row", "case", "value", "reference", "ratio", "quartiles", "target", "ok", "placement"
    )
}

/// The table's line of a row, and one more for its percentiles.
pub(crate) fn line(row: &Row) -> String {
    let number = |value: f64| format!("{value:.1} {}", row.unit);
    let quartiles = row.iqr.map_or_else(String::new, |(low, high)| format!("{low:.2} - {high:.2}"));
    let verdict = if row.ok { "yes" } else { "NO" };
    let mut line = format!(
        "{:<6} {:<26} {:>11} {:>11} {:>7.2} {:>15} {:>7}  {:<4} {}",
        row.row,
        row.case,
        number(row.value),
        number(row.reference),
        row.ratio,
        quartiles,
        row.target,
        verdict,
        row.placement
    );
    if let (Some(subject), Some(reference)) = (row.percentiles, row.reference_percentiles) {
        line += &format!(
            "\n       p50, p99, p99.9 in ns: {:.0}, {:.0}, {:.0}; reference {:.0}, {:.0}, {:.0}",
            subject[0], subject[1], subject[2], reference[0], reference[1], reference[2]
        );
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::method::Block;

    fn sample() -> Row {
        let found = Comparison::of(&[Block { reference: 100.0, subject: 250.04 }]);
        Row::of_times("P4", "1M names", &found, 3.0, "cpu 0")
    }

    #[test]
    fn the_json_object_has_the_agreed_fields_first_and_in_order() {
        let expected = "{\"row\":\"P4\",\"case\":\"1M names\",\"value\":250.0,\"unit\":\"ns\",\
                        \"reference\":100.0,\"ratio\":2.5,\"target\":3.0,\"ok\":true,";
        let json = sample().to_json();
        assert!(json.starts_with(expected), "{json}");
        assert!(!json.contains('\n'));
    }

    #[test]
    fn a_missed_target_says_no() {
        let found = Comparison::of(&[Block { reference: 1.0, subject: 3.1 }]);
        let row = Row::of_times("P4", "1k names", &found, 3.0, "cpu 0");
        assert!(!row.ok);
        assert!(line(&row).contains(" NO "));
        assert!(line(&sample()).contains(" yes "));
    }
}
