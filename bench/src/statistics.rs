//! Medians and spreads. Nothing here knows what the numbers are.

/// The value that `fraction` (0 to 1) of `values` are not above, between two values by proportion; none of no values.
pub fn quantile(values: &[f64], fraction: f64) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().checked_sub(1)?;
    #[expect(
        clippy::cast_precision_loss,
        reason = "numbers of samples are far below 2^52"
    )]
    let place = fraction.clamp(0.0, 1.0) * last as f64;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 0 and the number of samples"
    )]
    let below = place.floor() as usize;
    let low = *sorted.get(below)?;
    let high = *sorted.get((below + 1).min(last))?;
    Some(low + (high - low) * place.fract())
}

/// The middle value.
pub fn median(values: &[f64]) -> Option<f64> {
    quantile(values, 0.5)
}

/// The middle value and the quartiles around it.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Spread {
    /// p25.
    pub low: f64,
    /// p50.
    pub median: f64,
    /// p75.
    pub high: f64,
}

impl Spread {
    /// Of `values`, if there are any.
    pub fn of(values: &[f64]) -> Option<Self> {
        Some(Self {
            low: quantile(values, 0.25)?,
            median: median(values)?,
            high: quantile(values, 0.75)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(got: Option<f64>, wanted: f64) {
        let got = got.unwrap();
        assert!((got - wanted).abs() < 1e-9, "{got}, not {wanted}");
    }

    #[test]
    fn the_median_of_an_even_number_of_values_is_between_the_middle_two() {
        close(median(&[4.0, 1.0, 3.0, 2.0]), 2.5);
        close(median(&[9.0, 1.0, 2.0]), 2.0);
    }

    #[test]
    fn no_values_have_no_median_and_no_spread() {
        assert_eq!(median(&[]), None);
        assert_eq!(Spread::of(&[]), None);
    }

    #[test]
    fn quartiles_are_in_proportion() {
        let spread = Spread::of(&[10.0, 0.0, 20.0, 30.0, 40.0]).unwrap();
        assert_eq!(
            spread,
            Spread {
                low: 10.0,
                median: 20.0,
                high: 30.0
            }
        );
        close(quantile(&[0.0, 100.0], 0.99), 99.0);
    }

    #[test]
    fn one_value_is_its_own_spread() {
        let spread = Spread::of(&[7.0]).unwrap();
        close(Some(spread.low), 7.0);
        close(Some(spread.high), 7.0);
    }
}
