//! Everything that a training depends on, as it is kept in its run folder.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::data::AugmentOptions;
use crate::{Error, Result};

/// An optimiser.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OptimizerKind {
    /// SGD with Nesterov momentum.
    Sgd,
    /// AdamW.
    AdamW,
}

/// How pictures are changed at random; see [`AugmentOptions`], whose fields these are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AugmentConfig {
    /// Probability of mirroring left and right.
    pub flip: f32,
    /// The least and greatest size relative to filling the frame.
    pub zoom: [f32; 2],
    /// Change of width over height.
    pub stretch: f32,
    /// Change of hue.
    pub hue: f32,
    /// Change of saturation.
    pub saturation: f32,
    /// Change of brightness.
    pub brightness: f32,
    /// Change of contrast.
    pub contrast: f32,
    /// Probability of making one image of four.
    pub mosaic: f32,
}

impl AugmentConfig {
    /// The loader's options.
    pub fn options(&self) -> AugmentOptions {
        AugmentOptions {
            flip: self.flip,
            zoom: (self.zoom[0], self.zoom[1]),
            stretch: self.stretch,
            hue: self.hue,
            saturation: self.saturation,
            brightness: self.brightness,
            contrast: self.contrast,
            mosaic: self.mosaic,
            ..AugmentOptions::default()
        }
    }
}

impl Default for AugmentConfig {
    fn default() -> Self {
        let o = AugmentOptions::default();
        AugmentConfig {
            flip: o.flip,
            zoom: [o.zoom.0, o.zoom.1],
            stretch: o.stretch,
            hue: o.hue,
            saturation: o.saturation,
            brightness: o.brightness,
            contrast: o.contrast,
            mosaic: o.mosaic,
        }
    }
}

/// A training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainConfig {
    /// `wardrobe`, or the path of a dataset.
    pub data: String,
    /// The network's name.
    pub model: String,
    /// The network's input, width and height in pixels.
    pub size: [usize; 2],
    /// Images a step.
    pub batch: usize,
    /// Passes over the training images.
    pub epochs: usize,
    /// The learning rate after warm-up.
    pub rate: f64,
    /// The share of the learning rate at the end.
    pub final_share: f64,
    /// The optimiser.
    pub optimizer: OptimizerKind,
    /// SGD's momentum.
    pub momentum: f64,
    /// Weight decay of convolution weights.
    pub weight_decay: f64,
    /// Steps over which rate and momentum rise.
    pub warmup: usize,
    /// Label smoothing of the class loss.
    pub label_smoothing: f64,
    /// Validate every so many epochs, and after the last.
    pub validate_every: usize,
    /// The seed of weights, order and augmentation.
    pub seed: u64,
    /// The share of bad boxes that a dataset may have.
    pub forgive: f32,
    /// Scenes of the wardrobe to train on.
    pub scenes: usize,
    /// Random changes of the training pictures.
    pub augment: AugmentConfig,
}

impl Default for TrainConfig {
    /// `elan-nano` on wardrobe: a few minutes on two cores.
    fn default() -> Self {
        TrainConfig {
            data: "wardrobe".into(),
            model: "elan-nano".into(),
            size: [160, 160],
            batch: 16,
            epochs: 18,
            rate: 0.004,
            final_share: 0.02,
            optimizer: OptimizerKind::AdamW,
            momentum: 0.937,
            weight_decay: 0.02,
            warmup: 60,
            label_smoothing: 0.0,
            validate_every: 2,
            seed: 0,
            forgive: 0.01,
            scenes: 2000,
            augment: AugmentConfig::default(),
        }
    }
}

impl TrainConfig {
    /// What to begin from for `data`: the default for the wardrobe; longer, larger and with mosaics for
    /// photographs, of which there are few.
    pub fn for_data(data: &str) -> Self {
        let default = TrainConfig { data: data.to_owned(), ..TrainConfig::default() };
        if data == "wardrobe" {
            return default;
        }
        let augment = AugmentConfig { mosaic: 0.3, ..AugmentConfig::default() };
        TrainConfig { size: [320, 320], batch: 8, epochs: 60, validate_every: 5, augment, ..default }
    }

    /// What to call the data: `wardrobe`, or the last part of its path.
    pub fn data_name(&self) -> String {
        Path::new(&self.data).file_stem().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// Refuses what no training can be made of.
    ///
    /// # Errors
    /// Names the value and what it may be.
    pub fn check(&self) -> Result<()> {
        let rule = |ok: bool, what: &str| if ok { Ok(()) } else { Err(Error::invalid(what)) };
        rule(self.batch >= 1 && self.batch <= 4096, "the batch must be between 1 and 4096 images")?;
        rule(self.epochs >= 1, "a training takes at least 1 epoch")?;
        rule(self.rate.is_finite() && self.rate > 0.0, "the learning rate must be a positive number")?;
        rule((0.0..1.0).contains(&self.momentum), "the momentum must be at least 0 and below 1")?;
        rule(self.weight_decay >= 0.0, "the weight decay must not be negative")?;
        rule((0.0..=1.0).contains(&self.final_share), "the final share of the rate must be between 0 and 1")?;
        rule(
            (0.0..1.0).contains(&self.label_smoothing),
            "the label smoothing must be at least 0 and below 1",
        )?;
        rule(self.validate_every >= 1, "validation happens every 1 or more epochs")?;
        let [low, high] = self.augment.zoom;
        rule(low > 0.0 && low <= high && high.is_finite(), "augment.zoom must be two rising positive numbers")
    }

    /// The config as TOML.
    ///
    /// # Errors
    /// Where it cannot be written, which is a defect.
    pub fn to_toml(&self) -> Result<String> {
        toml::to_string_pretty(self).map_err(|e| Error::internal("the config cannot be written").caused_by(e))
    }

    /// The config in the file at `path`.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub fn load(path: &Path) -> Result<Self> {
        let text =
            std::fs::read_to_string(path).map_err(|e| Error::file(path, "cannot be read").caused_by(e))?;
        Self::from_toml(&text).map_err(|e| e.in_file(path))
    }

    /// The config from TOML.
    ///
    /// # Errors
    /// Names the line that cannot be read.
    pub fn from_toml(text: &str) -> Result<Self> {
        let config: TrainConfig = toml::from_str(text)
            .map_err(|e| Error::invalid("the config cannot be read").caused_by(e.message().to_owned()))?;
        config.check()?;
        Ok(config)
    }
}
