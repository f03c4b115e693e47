//! Learning rate, momentum and averaging over the steps of a training.

use std::f64::consts::PI;

/// Linear warm-up, then a cosine from the full rate down to a small share of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Schedule {
    /// The full learning rate.
    pub rate: f64,
    /// The share of it at the end.
    pub final_share: f64,
    /// The momentum after warm-up.
    pub momentum: f64,
    /// The average's decay after its own warm-up.
    pub decay: f64,
    /// Steps of warm-up.
    pub warmup: usize,
    /// Steps in all.
    pub steps: usize,
}

impl Schedule {
    /// The learning rate of step `step`, from 0.
    pub fn rate_at(&self, step: usize) -> f64 {
        if step < self.warmup {
            return self.rate * (step + 1) as f64 / self.warmup as f64;
        }
        let span = self.steps.saturating_sub(self.warmup).max(1) as f64;
        let progress = ((step - self.warmup) as f64 / span).min(1.0);
        let share = self.final_share + (1.0 - self.final_share) * 0.5 * (1.0 + (PI * progress).cos());
        self.rate * share
    }

    /// The momentum of step `step`: it rises from 0.8 during warm-up, as in YOLOv5.
    pub fn momentum_at(&self, step: usize) -> f64 {
        if step >= self.warmup {
            return self.momentum;
        }
        let low = self.momentum.min(0.8);
        low + (self.momentum - low) * step as f64 / self.warmup as f64
    }

    /// The average's decay at step `step`: an average of few steps is one over few steps. At step 0 it
    /// is 0, so the average begins as the weights.
    pub fn decay_at(&self, step: usize) -> f64 {
        self.decay.min(step as f64 / (step as f64 + 10.0))
    }
}

#[cfg(test)]
mod tests {
    use super::Schedule;

    #[test]
    fn warms_up_peaks_and_falls() {
        let schedule =
            Schedule { rate: 0.1, final_share: 0.01, momentum: 0.9, decay: 0.99, warmup: 10, steps: 110 };
        assert!((schedule.rate_at(0) - 0.01).abs() < 1e-12);
        assert!((schedule.rate_at(9) - 0.1).abs() < 1e-12);
        assert!((schedule.rate_at(10) - 0.1).abs() < 1e-12);
        assert!((schedule.rate_at(60) - 0.0505).abs() < 1e-12);
        assert!((schedule.rate_at(110) - 0.001).abs() < 1e-12);
        assert_eq!((schedule.momentum_at(0), schedule.momentum_at(10)), (0.8, 0.9));
        assert_eq!(
            (schedule.decay_at(0), schedule.decay_at(10), schedule.decay_at(10_000)),
            (0.0, 0.5, 0.99)
        );
    }
}
