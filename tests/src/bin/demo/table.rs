//! The table of the demo's traffic.

use std::fmt::Write as _;

use crate::traffic::Row;

const HEAD: [&str; 7] = [
    "FROM",
    "TO",
    "PROTO",
    "ANSWERED BY (TIMES)",
    "CLIENT SEEN BY THE POD",
    "MEDIAN",
    "POD ITSELF",
];

/// One block for each way, one line for each family and transport.
pub(crate) fn render(rows: &[Row]) -> String {
    let lines: Vec<[String; 7]> = rows.iter().map(cells).collect();
    let width = |column: usize| {
        lines
            .iter()
            .filter_map(|line| line.get(column))
            .map(String::len)
            .chain(HEAD.get(column).map(|head| head.len()))
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..HEAD.len()).map(width).collect();
    let join = |line: &[String]| {
        let cells: Vec<String> = line
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        cells.join("  ").trim_end().to_owned()
    };
    let mut table = join(&HEAD.map(str::to_owned));
    let mut way = "";
    for (row, line) in rows.iter().zip(&lines) {
        if row.way != way {
            way = row.way;
            // A String takes everything.
            let _never = write!(table, "\n-- {way}");
        }
        table.push('\n');
        table += &join(line);
    }
    table
        + "\n\nMEDIAN is the time of connect, request and answer through the Service (UDP: request and answer); POD ITSELF the same by the pods' own addresses.\n"
}

fn cells(row: &Row) -> [String; 7] {
    let mut servers: Vec<String> = row
        .servers
        .iter()
        .map(|(name, count)| format!("{name} {count}"))
        .collect();
    if row.failed > 0 {
        servers.push(format!("NOBODY {}", row.failed));
    }
    let seen: Vec<&str> = row.seen.iter().map(String::as_str).collect();
    let micros =
        |time: Option<u64>| time.map_or_else(|| "-".to_owned(), |ns| format!("{} us", ns / 1_000));
    [
        row.client.clone(),
        row.to.to_string(),
        row.proto.name().to_owned(),
        servers.join(", "),
        summary(&seen),
        micros(row.service_ns),
        micros(row.direct_ns),
    ]
}

/// At most two addresses, and how many more there are.
fn summary(seen: &[&str]) -> String {
    match seen {
        [] => "-".to_owned(),
        [one] => (*one).to_owned(),
        [first, second] => format!("{first}, {second}"),
        [first, second, more @ ..] => format!("{first}, {second}, {} more", more.len()),
    }
}
