//! Two stages (Gao & Wang): the first network divides coarsely (normal, bacterial, viral), and images whose highest class is a
//! certain one go through a second network that divides that class (not viral, COVID-19, other viral). Each stage is a weights
//! file of its own, with its own side, scaling and classes; without a second stage a cascade is plain prediction.

use super::heat_maps::HeatMaps;
use super::model::{Model, ModelOptions};
use super::stage::{Scores, Stage};
use super::stream::{Feed, Frame, Image, Outcome, RunOptions, chunk, interrupted};
use crate::error::{Error, Result};
use crate::gpu::Gpu;
use crate::weights;
use std::path::{Path, PathBuf};

/// A second stage.
#[derive(Clone, Debug)]
pub struct Then {
    /// The class of the first stage whose images it sees.
    pub class: usize,
    /// Its network.
    pub model: Model,
}

/// A first stage, and second ones for some of its classes.
#[derive(Clone, Debug)]
pub struct Cascade {
    /// The network that sees every image.
    pub first: Model,
    /// At most one for each class of the first.
    pub then: Vec<Then>,
}

/// What a cascade says of an image.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict<'a> {
    /// The image.
    pub path: &'a Path,
    /// The first stage's scores.
    pub first: Scores,
    /// Which of [`Cascade::then`] ran, and its scores; `None` where the first stage's class has no second one.
    pub second: Option<(usize, Scores)>,
    /// The class of the last stage that ran.
    pub class: &'a str,
    /// File name of the picture of the last stage's heat map, where heat maps are drawn.
    pub heat_map: Option<String>,
}

impl Verdict<'_> {
    /// The stage that gave the verdict, 0 or 1 + the place in [`Cascade::then`], and its scores.
    pub fn last(&self) -> (usize, &Scores) {
        self.second.as_ref().map_or((0, &self.first), |(t, scores)| (t + 1, scores))
    }
}

impl Cascade {
    /// `first`, and no second stage.
    pub fn of(first: Model) -> Cascade {
        Cascade { first, then: Vec::new() }
    }

    /// `first`, and after it what texts like `viral=stage2.safetensors` say. A second stage's file must say itself of which
    /// network it is.
    ///
    /// # Errors
    /// [`Error::Usage`] for a text of another form, a class that `first` does not have (with the nearest), one that is given
    /// twice, a file that does not name its network; as [`Model::open`].
    pub fn open(first: Model, then: &[String]) -> Result<Cascade> {
        let mut cascade = Cascade::of(first);
        // All names before the first file: a typing error shall not wait for gigabytes.
        let mut wanted: Vec<(usize, PathBuf)> = Vec::new();
        for text in then {
            let (class, file) = cascade.parse(text)?;
            if wanted.iter().any(|(c, _)| *c == class) {
                let class = &cascade.first.classes[class];
                return Err(Error::Usage(format!("--then {text}: the class '{class}' has a second stage already")));
            }
            wanted.push((class, file));
        }
        for (class, file) in wanted {
            let named = !weights::is_hdf5(&file)? && weights::metadata(&file)?.contains_key("network");
            if !named {
                return Err(Error::Usage(format!(
                    "{} does not say of which network it holds the weights: a second stage must be a file that training wrote",
                    file.display()
                )));
            }
            let model = Model::open(&file, &ModelOptions::default())?;
            cascade.then.push(Then { class, model });
        }
        Ok(cascade)
    }

    /// CLASS=FILE; either may hold further equal signs.
    fn parse(&self, text: &str) -> Result<(usize, PathBuf)> {
        let halves = |at: usize| (&text[..at], &text[at + 1..]);
        let mut ways = text.match_indices('=').map(|(at, _)| halves(at)).filter(|(_, file)| !file.is_empty());
        let known = ways.clone().find(|(class, _)| self.first.classes.iter().any(|c| c == class));
        let Some((class, file)) = known.or_else(|| ways.next()) else {
            return Err(Error::Usage(format!("--then {text}: CLASS=FILE is needed, as in viral=stage2.safetensors")));
        };
        let class = self.first.class(class).map_err(|e| Error::Usage(format!("--then {text}: {e}")))?;
        Ok((class, PathBuf::from(file)))
    }

    /// The models, the first stage's first.
    pub fn models(&self) -> impl Iterator<Item = &Model> {
        std::iter::once(&self.first).chain(self.then.iter().map(|t| &t.model))
    }

    /// What the stages are called, in the order of [`Cascade::models`]: "stage 1", "stage 2", and with several second ones "stage
    /// 2 after viral".
    pub fn stage_names(&self) -> Vec<String> {
        let many = self.then.len() > 1;
        let after = |t: &Then| format!("stage 2 after {}", self.first.classes[t.class]);
        let second = self.then.iter().map(|t| if many { after(t) } else { "stage 2".into() });
        std::iter::once("stage 1".to_string()).chain(second).collect()
    }

    /// Calls `each` with the verdict on every image of `files`, in order; with `heat` after its heat map was drawn.
    ///
    /// # Errors
    /// As [`super::run`]; [`Error::Io`] when a picture cannot be written.
    pub fn run(
        &self,
        gpu: &Gpu,
        files: &[PathBuf],
        options: &RunOptions,
        mut heat: Option<&mut HeatMaps>,
        mut each: impl FnMut(&Verdict) -> Result<()>,
    ) -> Result<Outcome> {
        let batch = options.batch.min(files.len().max(1));
        let mut frames: Vec<Frame> = Vec::new();
        let mut stages = Vec::new();
        for model in self.models() {
            let frame = model.frame();
            let place = frames.iter().position(|f| *f == frame).unwrap_or(frames.len());
            if place == frames.len() {
                frames.push(frame);
            }
            let mut stage = Stage::new(gpu, model, batch, place)?;
            stage.plan_scores(gpu)?;
            if heat.is_some() {
                stage.plan_maps(gpu, Default::default(), None)?;
            }
            stages.push(stage);
        }
        stages.iter().zip(self.stage_names()).for_each(|(stage, name)| stage.tell(options.talk, &name));
        let chunk = chunk(&frames, batch, heat.is_some());
        let feed = Feed { files, frames: &frames, chunk, label: "predict", mask: None };
        let done = feed.run(options, |images| {
            let mut verdicts = self.verdicts(gpu, &mut stages, &images)?;
            if let Some(heat) = heat.as_deref_mut() {
                heat.draw(gpu, self, &mut stages, &images, &mut verdicts)?;
            }
            verdicts.iter().try_for_each(&mut each)
        });
        done.map_err(|e| match &heat {
            Some(heat) => heat.and_left(e),
            None => interrupted(e, "nothing is written"),
        })
    }

    /// Scores of all stages for the images of a chunk.
    fn verdicts<'a>(&'a self, gpu: &Gpu, stages: &mut [Stage], images: &[Image<'a>]) -> Result<Vec<Verdict<'a>>> {
        let all: Vec<&Image> = images.iter().collect();
        let verdict = |(image, first): (&Image<'a>, Scores)| {
            let class = self.first.classes[first.class].as_str();
            Verdict { path: image.path, first, second: None, class, heat_map: None }
        };
        let first = stages[0].scores(gpu, &all)?;
        let mut verdicts: Vec<Verdict> = images.iter().zip(first).map(verdict).collect();
        for (t, then) in self.then.iter().enumerate() {
            let places: Vec<usize> = (0..images.len()).filter(|i| verdicts[*i].first.class == then.class).collect();
            if places.is_empty() {
                continue;
            }
            let chosen: Vec<&Image> = places.iter().map(|i| &images[*i]).collect();
            for (i, scores) in places.into_iter().zip(stages[t + 1].scores(gpu, &chosen)?) {
                verdicts[i].class = &then.model.classes[scores.class];
                verdicts[i].second = Some((t, scores));
            }
        }
        Ok(verdicts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::Network;
    use crate::predict::testing;
    use crate::weights::{Metadata, save};

    fn write(path: &Path, classes: &[&str]) {
        testing::weights(path, "gaowang", 16, classes, classes.len());
    }

    #[test]
    fn second_stages_belong_to_classes_of_the_first() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        write(&at("1"), &["normal", "viral", "a=b"]);
        write(&at("2"), &["covid", "other viral"]);
        save(&at("bare"), &Network::named("gaowang").unwrap().init(16, 2, 1), &Metadata::new()).unwrap();
        let open = |then: &[String]| {
            Cascade::open(Model::open(&at("1"), &ModelOptions::default()).unwrap(), then)
                .map(|c| (c.then.iter().map(|t| (t.class, t.model.classes.len())).collect::<Vec<_>>(), c.stage_names()))
        };
        let then = |class: &str, file: &str| format!("{class}={}", at(file).display());
        let (found, names) = open(&[then("viral", "2")]).unwrap();
        assert_eq!((found, names), (vec![(1, 2)], vec!["stage 1".to_string(), "stage 2".into()]));
        let (found, names) = open(&[then("a=b", "1"), then("normal", "2")]).unwrap();
        assert_eq!(found, [(2, 3), (0, 2)]);
        assert_eq!(names[1..], ["stage 2 after a=b", "stage 2 after normal"]);
        for (texts, parts, code) in [
            (vec![then("vral", "2")], vec!["did you mean 'viral'", "--then vral="], 2),
            (vec!["viral".to_string()], vec!["CLASS=FILE"], 2),
            (vec!["viral=".to_string()], vec!["CLASS=FILE"], 2),
            (vec![then("viral", "2"), then("viral", "1")], vec!["'viral' has a second stage already"], 2),
            (vec![then("viral", "gone")], vec!["gone", "cannot read"], 1),
            (vec![then("viral", "bare")], vec!["bare", "does not say of which network"], 2),
            // The name is looked at before the file.
            (vec![then("viral", "gone"), then("norml", "2")], vec!["'normal'"], 2),
        ] {
            let e = open(&texts).unwrap_err();
            let all = parts.iter().all(|p| e.to_string().contains(p));
            assert!(all && e.exit_code() == code, "{texts:?}: {e}");
        }
    }
}
