//! Latencies as a picture: one bar each, from p50 to p99.9, on a logarithmic scale.

use std::fmt::Write;
use std::fs;
use std::io;
use std::path::Path;

use super::latency::Latency;

/// Writes an SVG, and the directory for it.
pub(crate) fn write(path: &Path, latencies: &[Latency]) -> io::Result<()> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    fs::write(path, svg(latencies))
}

/// 10 ns to 100 ms.
const DECADES: std::ops::Range<i32> = 1..8;
const DECADE: f64 = 100.0;
const LEFT: f64 = 170.0;
const ROW: f64 = 44.0;
const TOP: f64 = 40.0;

fn svg(latencies: &[Latency]) -> String {
    let bottom = TOP + ROW * latencies.len() as f64;
    let width = LEFT + DECADE * f64::from(DECADES.end - DECADES.start) + 30.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{}\" \
         font-family=\"sans-serif\" font-size=\"13\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"10\" y=\"22\">Time to have a lock: p50 (dark), p99, p99.9</text>\n",
        bottom + 34.0
    );
    for decade in DECADES.start..=DECADES.end {
        let x = place(10_f64.powi(decade));
        // A text that cannot be written is not worth stopping for: a String takes all.
        let _ = writeln!(
            svg,
            "<line x1=\"{x}\" x2=\"{x}\" y1=\"{TOP}\" y2=\"{bottom}\" stroke=\"#ddd\"/>\
             <text x=\"{x}\" y=\"{}\" text-anchor=\"middle\" fill=\"#666\">{}</text>",
            bottom + 18.0,
            text(10_f64.powi(decade))
        );
    }
    for (at, latency) in latencies.iter().enumerate() {
        let y = TOP + ROW * at as f64 + 8.0;
        let _ = writeln!(svg, "<text x=\"10\" y=\"{}\">{}</text>", y + 18.0, latency.what);
        let [p50, p99, p999] = latency.quantiles;
        for (end, colour) in [(p999, "#cfe0f3"), (p99, "#8fb8e0"), (p50, "#1f5fa8")] {
            let length = (place(end) - LEFT).max(1.0);
            let _ = writeln!(
                svg,
                "<rect x=\"{LEFT}\" y=\"{y}\" width=\"{length:.1}\" height=\"26\" fill=\"{colour}\">\
                 <title>{}</title></rect>",
                text(end)
            );
        }
        let _ = writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{}\">{}</text>",
            place(p999) + 6.0,
            y + 18.0,
            text(p50)
        );
    }
    svg + "</svg>\n"
}

fn place(nanoseconds: f64) -> f64 {
    LEFT + DECADE * (nanoseconds.max(1.0).log10() - f64::from(DECADES.start))
}

fn text(nanoseconds: f64) -> String {
    match nanoseconds {
        small if small < 1e3 => format!("{small:.0} ns"),
        middle if middle < 1e6 => format!("{:.0} us", middle / 1e3),
        large => format!("{:.0} ms", large / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_latency_has_its_bars_and_says_its_median() {
        let latency = Latency { what: "hit", quantiles: [20.0, 2e4, 3e6] };
        let svg = svg(&[latency.clone(), latency]);
        assert_eq!(svg.matches("<title>").count(), 6);
        for text in ["20 ns", "20 us", "3 ms"] {
            assert!(svg.contains(&format!("<title>{text}</title>")), "{svg}");
        }
        assert!(svg.starts_with("<svg") && svg.ends_with("</svg>\n"));
    }
}
