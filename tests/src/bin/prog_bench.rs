//! Prints what [`integration::prog_bench`] measures: the median of the rounds, and the best, which other work on the machine
//! disturbs least. Arguments are words that a case's name must have: `prog_bench IPv4 new`. `cargo xtask bench program` keeps
//! every sample.

use anyhow::Result;
use integration::prog_bench::{ROUNDS, measure};
use integration::requirements;

fn main() -> Result<()> {
    requirements::check()?;
    println!("ns per packet, median and best of {ROUNDS} rounds");
    let words: Vec<String> = std::env::args().skip(1).collect();
    for figure in measure(ROUNDS, &words)? {
        let mut rounds = figure.nanoseconds;
        rounds.sort_by(f64::total_cmp);
        let at = |index: usize| rounds.get(index).copied().unwrap_or(f64::NAN);
        println!(
            "{:50} {:6.0} {:6.0}",
            figure.name,
            at(rounds.len() / 2),
            at(0)
        );
    }
    Ok(())
}
