//! Scales: from values to places, and which values get a tick.

/// How values are laid out along an axis.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Kind {
    /// Evenly, from 0.
    Linear,
    /// As `Linear`, for what there is no half of.
    Whole,
    /// By powers of ten.
    Log,
    /// Percentiles by their nines: 90, 99, 99.9 are evenly apart.
    Nines,
}

/// A scale over the range of some values.
#[derive(Clone, Debug)]
pub(super) struct Scale {
    kind: Kind,
    low: f64,
    high: f64,
    /// Values with ticks, and their texts.
    pub(super) ticks: Vec<(f64, String)>,
}

const NINES: [f64; 7] = [0.0, 50.0, 90.0, 99.0, 99.9, 99.99, 99.999];

impl Scale {
    /// A scale that holds all `values`, with about `count` ticks.
    pub(super) fn over(kind: Kind, values: impl Iterator<Item = f64>, count: u32) -> Self {
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        for value in values.filter(|value| value.is_finite() && (kind != Kind::Log || *value > 0.0))
        {
            (low, high) = (low.min(value), high.max(value));
        }
        if low > high {
            (low, high) = (0.0, 1.0);
        }
        match kind {
            Kind::Linear => Self::linear(low.min(0.0), high, count, 0.0),
            Kind::Whole => Self::linear(low.min(0.0), high, count, 1.0),
            Kind::Log => Self::log(low, high),
            Kind::Nines => Self::nines(high),
        }
    }

    /// With ticks that are `least` apart or more.
    fn linear(low: f64, high: f64, count: u32, least: f64) -> Self {
        let high = if high > low { high } else { low + 1.0 };
        let step = step(((high - low) / f64::from(count)).max(least));
        // A multiple of the step is one, whatever the last bit of the quotient says.
        let (first, last) = ((low / step + 1e-9).floor(), (high / step - 1e-9).ceil());
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a small count of ticks"
        )]
        let number = (last - first) as u32;
        let ticks = (0..=number).map(|n| {
            let value = (first + f64::from(n)) * step;
            (value, tick_text(value, step))
        });
        Self { kind: Kind::Linear, low: first * step, high: last * step, ticks: ticks.collect() }
    }

    fn log(low: f64, high: f64) -> Self {
        let low = if low > 0.0 { low } else { 1e-3 };
        let (first, mut last) = (low.log10().floor(), high.max(low).log10().ceil());
        if last <= first {
            last = first + 1.0;
        }
        #[expect(clippy::cast_possible_truncation, reason = "exponents are small")]
        let (from, to) = (first as i32, last as i32);
        let ticks = (from..=to).map(|exponent| {
            let value = 10f64.powi(exponent);
            (value, tick_text(value, value))
        });
        Self {
            kind: Kind::Log,
            low: 10f64.powi(from),
            high: 10f64.powi(to),
            ticks: ticks.collect(),
        }
    }

    fn nines(high: f64) -> Self {
        let last = NINES.iter().position(|nine| *nine >= high).unwrap_or(NINES.len() - 1).max(2);
        let ticks = NINES[..=last].iter().map(|nine| (*nine, nine.to_string()));
        Self { kind: Kind::Nines, low: 0.0, high: NINES[last], ticks: ticks.collect() }
    }

    /// The place of `value`, 0 to 1.
    pub(super) fn place(&self, value: f64) -> f64 {
        let (low, high, value) =
            (self.project(self.low), self.project(self.high), self.project(value));
        ((value - low) / (high - low)).clamp(0.0, 1.0)
    }

    fn project(&self, value: f64) -> f64 {
        match self.kind {
            Kind::Linear | Kind::Whole => value,
            Kind::Log => value.max(self.low).log10(),
            Kind::Nines => -(1.0 - value.min(self.high) / 100.0).log10(),
        }
    }
}

/// 1, 2 or 5 times a power of ten, at least `least`.
fn step(least: f64) -> f64 {
    let power = 10f64.powf(least.log10().floor());
    [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|factor| factor * power)
        .find(|s| *s >= least * 0.999)
        .unwrap_or(power)
}

/// A value with as many decimals as the step needs, in few characters.
fn tick_text(value: f64, step: f64) -> String {
    if value.abs() < step / 2.0 {
        return "0".into();
    }
    if step < 1e-3 {
        let power = step.log10().floor();
        return format!("{:.0}e{power}", value / 10f64.powf(power));
    }
    let (value, step, unit) = match value.abs().max(step) {
        top if top >= 1e9 => (value / 1e9, step / 1e9, "G"),
        top if top >= 1e6 => (value / 1e6, step / 1e6, "M"),
        top if top >= 1e4 => (value / 1e3, step / 1e3, "k"),
        _ => (value, step, ""),
    };
    let decimals = (0..9).find(|decimals| {
        let scaled = step * 10f64.powi(*decimals);
        (scaled - scaled.round()).abs() < 1e-6 * scaled.max(1.0) && scaled >= 0.999
    });
    let decimals = usize::try_from(decimals.unwrap_or(6)).unwrap_or(6);
    format!("{value:.decimals$}{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(kind: Kind, values: &[f64]) -> Vec<String> {
        Scale::over(kind, values.iter().copied(), 5)
            .ticks
            .into_iter()
            .map(|(_, text)| text)
            .collect()
    }

    #[test]
    fn ticks_are_round() {
        assert_eq!(texts(Kind::Linear, &[0.3, 0.97]), ["0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
        assert_eq!(texts(Kind::Linear, &[0.0]), ["0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
        assert_eq!(texts(Kind::Linear, &[250_000.0]), ["0", "50k", "100k", "150k", "200k", "250k"]);
        assert_eq!(texts(Kind::Linear, &[0.000_04]), ["0", "1e-5", "2e-5", "3e-5", "4e-5"]);
        assert_eq!(texts(Kind::Whole, &[1.0]), ["0", "1"]);
        assert_eq!(texts(Kind::Log, &[0.5, 300.0]), ["0.1", "1", "10", "100", "1000"]);
        assert_eq!(texts(Kind::Nines, &[50.0, 99.9]), ["0", "50", "90", "99", "99.9"]);
    }

    #[test]
    fn every_value_has_a_place_whatever_it_is() {
        for kind in [Kind::Linear, Kind::Whole, Kind::Log, Kind::Nines] {
            for values in [
                &[][..],
                &[0.0],
                &[f64::NAN, f64::INFINITY],
                &[1e-12, 1e18],
                &[-5.0, 5.0],
                &[7.0, 7.0],
            ] {
                let scale = Scale::over(kind, values.iter().copied(), 5);
                assert!(
                    (2..=40).contains(&scale.ticks.len()),
                    "{kind:?} {values:?}: {}",
                    scale.ticks.len()
                );
                for value in values.iter().filter(|value| value.is_finite()) {
                    assert!((0.0..=1.0).contains(&scale.place(*value)), "{kind:?} {value}");
                }
            }
        }
    }
}
