//! Plots as SVG and PNG: a figure by the number of Services, a line for each contestant; where there is one number only, bars.

use std::path::Path;
use std::sync::Once;

use anyhow::{Result, anyhow};
use plotters::coord::Shift;
use plotters::coord::ranged1d::ValueFormatter;
use plotters::prelude::*;
use plotters::style::{FontStyle, register_font};

use super::Results;
use super::number::{grouped, short};
use super::ratio::figure;
use super::table::{rows, workloads};
use crate::contestant::Contestant;
use crate::record::{Better, Record};
use crate::statistics::Spread;

const SIZE: (u32, u32) = (900, 460);
const FONT: &str = "sans-serif";
/// From the smallest to the largest figure: beyond that small ones could not be told apart on a linear axis.
const LINEAR: f64 = 40.0;

/// A plot.
#[derive(Clone, Debug)]
pub(super) struct Plot<'a> {
    /// Without its ending.
    pub(super) file: String,
    /// As in the records.
    pub(super) variant: &'a str,
    title: String,
    /// Numbers of Services, rising.
    sizes: Vec<u32>,
    /// Each contestant's figures, by the place in `sizes`.
    lines: Vec<(Contestant, Vec<(usize, Spread)>)>,
}

/// Everything that has more than one contestant or size.
pub(super) fn all(results: &Results) -> Vec<Plot<'_>> {
    let mut plots = Vec::new();
    for workload in workloads(results) {
        let mut variants: Vec<&str> = Vec::new();
        for record in results
            .records()
            .filter(|record| record.workload == workload)
        {
            if !variants.contains(&&*record.variant) {
                variants.push(&record.variant);
            }
        }
        let made = variants
            .into_iter()
            .filter_map(|variant| plot(results, workload, variant));
        plots.extend(made);
    }
    plots
}

/// The figures of one variant. Of two positions the worse is shown.
fn plot<'a>(results: &'a Results, workload: &str, variant: &'a str) -> Option<Plot<'a>> {
    let rows = rows(results, workload);
    let rows: Vec<_> = rows
        .iter()
        .filter(|(row, _)| row.variant == variant)
        .collect();
    let any = rows.first()?.1.values().next().copied()?;
    let mut sizes: Vec<u32> = rows.iter().map(|(row, _)| row.services).collect();
    sizes.sort_unstable();
    sizes.dedup();
    let mut contestants: Vec<Contestant> = rows
        .iter()
        .flat_map(|(_, records)| records.keys().copied())
        .collect();
    contestants.sort_unstable();
    contestants.dedup();
    if sizes.len() * contestants.len() < 2 {
        return None;
    }
    let line = |contestant: Contestant| {
        let points = sizes.iter().enumerate().filter_map(|(index, &services)| {
            let records = rows
                .iter()
                .filter(|(row, _)| row.services == services)
                .filter_map(|(_, records)| records.get(&contestant).copied());
            Some((index, worst(records)?))
        });
        (contestant, points.collect::<Vec<_>>())
    };
    let (arrow, unit) = match any.better {
        Better::Higher => ("more is better", &any.unit),
        Better::Lower => ("less is better", &any.unit),
    };
    Some(Plot {
        file: slug(&format!("{workload} {variant}")),
        variant,
        title: format!("{variant} [{unit}], {arrow}"),
        lines: contestants.into_iter().map(line).collect(),
        sizes,
    })
}

fn worst<'a>(records: impl Iterator<Item = &'a Record>) -> Option<Spread> {
    records
        .filter(|record| figure(record).is_ok())
        .filter_map(|record| Some((record.better, Spread::of(&record.quiet())?)))
        .reduce(|a, b| {
            let a_is_worse = match a.0 {
                Better::Higher => a.1.median < b.1.median,
                Better::Lower => a.1.median > b.1.median,
            };
            if a_is_worse { a } else { b }
        })
        .map(|(_, spread)| spread)
}

/// A file's name: letters, digits and hyphens.
fn slug(text: &str) -> String {
    let mut slug = String::new();
    for letter in text.chars().map(|letter| letter.to_ascii_lowercase()) {
        if letter.is_ascii_alphanumeric() {
            slug.push(letter);
        } else if !slug.ends_with('-') {
            slug.push('-');
        }
    }
    slug.trim_matches('-').to_owned()
}

/// Writes every plot of `results` into `folder`.
pub(super) fn write_all(results: &Results, folder: &Path) -> Result<()> {
    for plot in all(results) {
        plot.svg(&folder.join(format!("{}.svg", plot.file)))?;
        plot.png(&folder.join(format!("{}.png", plot.file)))?;
    }
    Ok(())
}

impl Plot<'_> {
    /// Writes it as SVG.
    pub(super) fn svg(&self, path: &Path) -> Result<()> {
        fonts();
        self.draw(&SVGBackend::new(path, SIZE).into_drawing_area())
    }

    /// Writes it as PNG.
    pub(super) fn png(&self, path: &Path) -> Result<()> {
        fonts();
        self.draw(&BitMapBackend::new(path, SIZE).into_drawing_area())
    }

    fn draw<B: DrawingBackend>(&self, area: &DrawingArea<B, Shift>) -> Result<()> {
        let failed =
            |error: DrawingAreaErrorKind<B::ErrorType>| anyhow!("plot {}: {error}", self.file);
        area.fill(&WHITE).map_err(failed)?;
        let highs = self.spreads().map(|spread| spread.high);
        let most = highs.fold(f64::MIN_POSITIVE, f64::max);
        let lows = self.spreads().map(|spread| spread.low);
        let least = lows.filter(|low| *low > 0.0).fold(most, f64::min);
        let mut builder = ChartBuilder::on(area);
        builder
            .caption(&self.title, (FONT, 20))
            .margin(12)
            .x_label_area_size(36)
            .y_label_area_size(80);
        #[expect(clippy::cast_precision_loss, reason = "a handful")]
        let right = self.sizes.len() as f64 - 0.5;
        if most / least > LINEAR {
            let range = (least / 2.0..most * 2.0).log_scale();
            let mut chart = builder
                .build_cartesian_2d(-0.5..right, range)
                .map_err(failed)?;
            self.fill(&mut chart, least / 2.0).map_err(failed)?;
        } else {
            let mut chart = builder
                .build_cartesian_2d(-0.5..right, 0.0..most * 1.1)
                .map_err(failed)?;
            self.fill(&mut chart, 0.0).map_err(failed)?;
        }
        area.present().map_err(failed)
    }

    fn spreads(&self) -> impl Iterator<Item = &Spread> {
        self.lines
            .iter()
            .flat_map(|(_, points)| points)
            .map(|(_, spread)| spread)
    }

    fn fill<'a, B: DrawingBackend + 'a, Y: Ranged<ValueType = f64> + ValueFormatter<f64> + 'a>(
        &self,
        chart: &mut ChartContext<'a, B, Cartesian2d<plotters::coord::types::RangedCoordf64, Y>>,
        floor: f64,
    ) -> Result<(), DrawingAreaErrorKind<B::ErrorType>> {
        let services = |x: &f64| self.label(*x);
        chart
            .configure_mesh()
            .disable_x_mesh()
            .light_line_style(WHITE)
            .x_labels(self.sizes.len() + 1)
            .x_label_formatter(&services)
            .x_desc("Services")
            .y_label_formatter(&|y| short(*y))
            .label_style((FONT, 14))
            .draw()?;
        for (index, (contestant, points)) in self.lines.iter().enumerate() {
            let color = color(*contestant);
            let at = |place: usize| self.place(place, index);
            if self.sizes.len() > 1 {
                let line = points
                    .iter()
                    .map(|(place, spread)| (at(*place), spread.median));
                chart.draw_series(LineSeries::new(line, color.stroke_width(2)))?;
            } else {
                let half = 0.35 / self.width();
                let bars = points.iter().map(|(place, spread)| {
                    let x = at(*place);
                    Rectangle::new(
                        [(x - half, floor), (x + half, spread.median)],
                        color.mix(0.5).filled(),
                    )
                });
                chart.draw_series(bars)?;
            }
            let spreads = points.iter().map(|(place, spread)| {
                let Spread { low, median, high } = *spread;
                ErrorBar::new_vertical(at(*place), low, median, high, color.filled(), 8)
            });
            chart
                .draw_series(spreads)?
                .label(contestant.title())
                .legend(move |(x, y)| {
                    Rectangle::new([(x, y - 5), (x + 12, y + 5)], color.filled())
                });
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperRight)
            .background_style(WHITE.mix(0.8))
            .border_style(BLACK.mix(0.3))
            .label_font((FONT, 14))
            .draw()
    }

    #[expect(clippy::cast_precision_loss, reason = "a handful")]
    fn width(&self) -> f64 {
        self.lines.len().max(1) as f64
    }

    /// Where a contestant's figure is on the x axis: beside those of the others.
    #[expect(clippy::cast_precision_loss, reason = "a handful")]
    fn place(&self, place: usize, line: usize) -> f64 {
        let spread = if self.sizes.len() > 1 { 0.25 } else { 0.8 };
        place as f64 + ((line as f64 + 0.5) / self.width() - 0.5) * spread
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a handful; negative ones have no size"
    )]
    fn label(&self, x: f64) -> String {
        if (x - x.round()).abs() > 0.01 || x < -0.1 {
            return String::new();
        }
        let size = self.sizes.get(x.round() as usize);
        size.map_or_else(String::new, |size| grouped(&size.to_string()))
    }
}

/// The same in every plot.
const fn color(contestant: Contestant) -> RGBColor {
    match contestant {
        Contestant::Direct => RGBColor(120, 120, 120),
        Contestant::KubeShunt => RGBColor(31, 119, 180),
        Contestant::KubeShuntConntrack => RGBColor(23, 190, 207),
        Contestant::KubeShuntXdp => RGBColor(44, 160, 44),
        Contestant::IptablesLegacy => RGBColor(214, 39, 40),
        Contestant::IptablesNft => RGBColor(255, 127, 14),
        Contestant::Nftables => RGBColor(148, 103, 189),
        Contestant::Ipvs => RGBColor(140, 86, 75),
        Contestant::Beside => RGBColor(188, 189, 34),
        Contestant::HostRouting => RGBColor(0, 128, 128),
        Contestant::HostRoutingConntrack => RGBColor(127, 127, 127),
    }
}

/// Text is measured, and drawn into PNGs, with a font that is built in: the machine may have none.
fn fonts() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // It is a font, so it is taken; else drawing text fails and says so.
        let _taken = register_font(FONT, FontStyle::Normal, dejavu::sans::regular());
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_have_plain_names() {
        assert_eq!(
            slug("connections ClusterIP, 1 at a time: p50"),
            "connections-clusterip-1-at-a-time-p50"
        );
        assert_eq!(slug("a / b: c "), "a-b-c");
    }
}
